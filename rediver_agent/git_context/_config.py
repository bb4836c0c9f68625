"""Reads git's configuration format, as far as a repository's own file needs it: no includes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_SECTION: Final = re.compile(r'\[\s*([A-Za-z0-9.-]+)(?:\s+"((?:[^"\\\n]|\\.)*)")?\s*\]')
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=?)")
_ESCAPES: Final = {"n": "\n", "t": "\t", "b": "\b", '"': '"', "\\": "\\"}
_BLANK: Final = " \t\r\n"


class BadConfig(ValueError):
    """It is not git's configuration."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: `section` and `key` in lower case, as git compares them."""

    section: str
    subsection: str
    key: str
    value: str


def parse_config(text: str) -> list[Entry]:
    """Every value in its order. `BadConfig` where git would refuse the file, too."""
    return list(_entries(text.removeprefix("\ufeff")))


def _entries(text: str) -> Iterator[Entry]:
    section = subsection = ""
    position = 0
    while position < len(text):
        letter = text[position]
        if letter in _BLANK:
            position += 1
        elif letter in "#;":
            position = _end_of_line(text, position)
        elif letter == "[":
            match = _matched(_SECTION, text, position)
            section, _, old = match[1].lower().partition(".")
            subsection = old if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            position = match.end()
        else:
            match = _matched(_KEY, text, position)
            if not section:
                raise BadConfig("a value is in no section")
            value, position = _value(text, match.end()) if match[2] else ("true", match.end())
            yield Entry(section, subsection, match[1].lower(), value)


def _matched(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str]:
    match = pattern.match(text, position)
    if match is None:
        raise BadConfig("a line is neither a section nor a value")
    return match


def _end_of_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _value(text: str, position: int) -> tuple[str, int]:
    """The value that begins at `position`, and where the next line does."""
    said: list[str] = []
    kept = 0  # what is quoted or no blank: what is after it is only trailing space
    quoted = False
    while position < len(text):
        letter = text[position]
        position += 1
        if letter == "\n":
            break
        if letter == '"':
            quoted = not quoted
            kept = len(said)
        elif letter in "#;" and not quoted:
            position = _end_of_line(text, position)
        elif letter == "\\":
            follows = text[position : position + 1]
            position += 1
            if follows == "\n":
                continue
            if follows not in _ESCAPES:
                raise BadConfig("a backslash stands before what it cannot escape")
            said.append(_ESCAPES[follows])
            kept = len(said)
        elif said or quoted or letter not in _BLANK:
            said.append(letter)
            kept = len(said) if quoted or letter not in _BLANK else kept
    if quoted:
        raise BadConfig("a quotation does not end on its line")
    return "".join(said[:kept]), position
