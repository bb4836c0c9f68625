"""What a plugin's class says of itself is looked at when it is found, not in its first scan.

The interface is the rule: every class attribute that it annotates must be there and fit. One that
does not makes its plugin broken, by name; no command and no list of plugins comes upon it later.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Final, cast, get_args, get_origin, get_type_hints

from rediver_agent import interfaces
from rediver_agent.errors import PluginError

_WORDS: Final = {str: "text", int: "a whole number", bool: "True or False"}
_MANY: Final = {str: "texts", int: "whole numbers"}


def refuse_misdeclared(item: object) -> None:
    """Raise `PluginError` for an attribute that is missing, or not of the interface's type."""
    for base in type(item).__mro__:
        if base.__module__.partition("._")[0] != interfaces.__name__:
            continue
        for name, hint in get_type_hints(base).items():
            if get_origin(hint) is ClassVar and name not in ("options", "payload"):
                _refuse(item, name, get_args(hint)[0])


def _refuse(item: object, name: str, wanted: Any) -> None:
    where = f"{type(item).__name__}.{name}"
    if not hasattr(item, name):
        raise PluginError(f"{where} is missing: it must be {_told(wanted)}")
    value = getattr(item, name)
    if not _fits(value, wanted):
        raise PluginError(f"{where} is {value!r}: it must be {_told(wanted)}")


def _fits(value: object, wanted: Any) -> bool:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is None:
        return isinstance(value, wanted)
    if origin is Mapping:
        pairs = cast("Mapping[object, object]", value).items() if isinstance(value, Mapping) else ()
        return isinstance(value, Mapping) and all(
            _fits(key, inner[0]) and _fits(held, inner[1]) for key, held in pairs
        )
    kind = Sequence if origin is Sequence else Collection  # a set will do for a frozenset
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, kind):
        return False  # each letter of a text would be an item
    return all(_fits(one, inner[0]) for one in cast("Collection[object]", value))


def _told(wanted: Any) -> str:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is None:
        return _WORDS[wanted]
    if origin is Mapping:
        return f"a dict of {_MANY[inner[0]]} to {_MANY[inner[1]]}"
    return f"a tuple of {_MANY[inner[0]]}"
