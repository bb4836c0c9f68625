"""What is worth telling an open socket at once. Nudges only: an agent that gets none polls."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal

from pydantic import TypeAdapter
from pydantic_core import to_json

Kind = Literal["command_available", "command_cancelled", "config_update", "keys_ended"]


@dataclass(frozen=True, slots=True)
class Nudge:
    """To one source, or (`source_id` None) to some that can do `type` with `tool`."""

    kind: Kind
    tenant_id: str
    source_id: str | None = None
    command_id: str | None = None
    type: str | None = None
    tool: str | None = None


_NUDGE: Final = TypeAdapter(Nudge)


def to_text(nudge: Nudge) -> str:
    """A nudge as it travels between processes."""
    return to_json(asdict(nudge), exclude_none=True).decode()


def from_text(text: str) -> Nudge:
    """Raises ValueError for what is no nudge."""
    return _NUDGE.validate_json(text)


def merged(nudges: Iterable[Nudge]) -> list[Nudge]:
    """Each once, in order."""
    return list(dict.fromkeys(nudges))
