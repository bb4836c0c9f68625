"""What a parser yields, and what every parser is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar, Literal

from pydantic import BaseModel, JsonValue

from rediver_agent.contract.findings import Finding


@dataclass(frozen=True, slots=True)
class Notice:
    """What a tool says of its own run.

    `error`: it did not look at everything it was asked to: findings are kept, the coverage is
    partial and the command fails with `partial_scan`. `warning`: a file or so was not understood:
    the coverage is partial, the command stands. `info`: worth keeping, changes nothing.
    """

    level: Literal["error", "warning", "info"]
    message: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """Which tool wrote a report. `properties` says what it looked with: rules, databases, modes."""

    name: str
    version: str | None = None
    properties: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])


ParseEvent = Finding | Notice | ToolInfo


class Parser(ABC):
    """Reads one report format. Registered by `rediver_parsers`."""

    format: ClassVar[str]
    """The name that `--parser` and `ctx.parse` use. Unique among all plugins."""
    options: ClassVar[type[BaseModel] | None] = None
    """What `parsers[].config` or `--mapping` may say (`extra="forbid"`); None: there is nothing."""

    def with_options(self, options: BaseModel) -> "Parser":
        """A parser that reads by these options. For one whose `options` is not None."""
        raise NotImplementedError(f"the parser {self.format!r} takes no options: {options!r}")

    @abstractmethod
    def sniff(self, head: bytes) -> bool:
        """Whether a report that begins with `head` (up to 64 KiB) is of this format."""

    @abstractmethod
    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        """The findings of a report, in order, with the tool and its notices among them.

        `stream` is seekable and at its start. Memory is bounded: the report is never held whole.
        Findings have no fingerprint (the agent sets it) and nothing of a secret in them.
        Runs in a worker thread. Raises `ReportUnreadable`, and nothing else, for any bytes.
        """
