"""The text of a SARIF message: written, or by its id from the rule, with its arguments put in."""

import re
from collections.abc import Mapping
from typing import Any, Final

from rediver_sarif._values import MAX_TEXT, array, table, text, word

_MAX_STRINGS: Final = 100  # templates kept of one rule, and arguments of one message
_MAX_ADDRESS: Final = 1000
_PLACEHOLDER: Final = re.compile(r"\{\{|\}\}|\{(\d{1,3})\}")
# `[words](target)`, the target a web address or the id of a related location.
_LINK: Final = re.compile(r"(?<!\\)\[((?:\\.|[^\\\[\]])*)\]\(([^()\s]{1,1000})\)")
_ADDRESS: Final = re.compile(r"https?://[^\s<>()\[\]\"'`]{4,1000}")


def written(message: Any) -> str:
    """The text of a message or of a `multiformatMessageString`, Markdown if there is no other."""
    forms = table(message)
    return text(forms.get("text")) or text(forms.get("markdown"))


def templates(strings: Any) -> dict[str, str]:
    """The message strings of a rule or a tool component, by their ids."""
    pairs = list(table(strings).items())[:_MAX_STRINGS]
    return {word(name): written(form)[:2000] for name, form in pairs if isinstance(form, dict)}


def resolved(message: Any, *strings: Mapping[str, str]) -> str:
    """The message with its arguments; "" where it has no text and no template has its id."""
    about = table(message)
    own = written(about)
    if own and "arguments" not in about:
        return own
    arguments = array(about.get("arguments"))[:_MAX_STRINGS]
    if own:
        return _filled(own, arguments) if arguments else own
    name = word(about.get("id"))
    found = next((known[name] for known in strings if name and name in known), "")
    return _filled(found, arguments)


def without_links(said: str) -> str:
    """The words alone of a text with embedded links."""
    if "](" in said:
        said = _LINK.sub(r"\1", said)
    return said.replace("\\[", "[").replace("\\]", "]") if "\\" in said else said


def addresses(said: str, limit: int) -> list[str]:
    """The web addresses in a text, each once, in their order."""
    found = dict[str, None]()
    for match in _ADDRESS.finditer(said):
        found[match[0].rstrip(".,;:!?*_")] = None
        if len(found) == limit:
            break
    return list(found)


def linked(said: str, limit: int) -> list[str]:
    """The web addresses of the links embedded in a message."""
    found: list[str] = []
    start = said.find("](http") + 2
    while start > 1 and len(found) < limit:
        end = said.find(")", start, start + _MAX_ADDRESS)
        if end > 0 and said[start:end].split() == [said[start:end]]:  # without any space
            found.append(said[start:end])
        start = said.find("](http", start) + 2
    return found


def _filled(template: str, arguments: list[Any]) -> str:
    """The template, its `{0}` replaced and its `{{` undone; never longer than a text may be."""
    parts: list[str] = []
    length = done = 0
    for match in _PLACEHOLDER.finditer(template):
        number = match[1]
        filling = match[0][0] if number is None else _argument(match[0], int(number), arguments)
        parts += template[done : match.start()], filling
        length += match.start() - done + len(filling)
        done = match.end()
        if length > MAX_TEXT:
            break
    return "".join([*parts, template[done:]])[:MAX_TEXT]


def _argument(placeholder: str, number: int, arguments: list[Any]) -> str:
    argument = arguments[number] if number < len(arguments) else None
    return str(argument) if isinstance(argument, int | float) else text(argument) or placeholder
