"""What plugins implement, and what the agent hands them.

A scanner runs a tool and names its report; a parser turns a report into findings, one at a time.
Scanners and parsers are small base classes, so that a method added later has a default; what the
agent hands over is a protocol, so that a fake needs no inheritance.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from logging import Logger, LoggerAdapter
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from pydantic import BaseModel, JsonValue

from rediver_agent.contract.findings import Asset, Finding

Options = TypeVar("Options", bound=BaseModel)
Log = LoggerAdapter[Logger]


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


@dataclass(frozen=True, slots=True)
class ScanReport:
    """A report that is there and is not empty, to be parsed by the agent off its event loop."""

    path: Path
    format: str
    notices: tuple[Notice, ...] = ()
    tool: ToolInfo | None = None

    def with_notice(self, notice: Notice) -> "ScanReport":
        """The same report with one more notice, for what only the exit code tells."""
        return replace(self, notices=(*self.notices, notice))

    def with_tool(self, tool: ToolInfo) -> "ScanReport":
        """The same report, saying which tool wrote it where the report itself does not."""
        return replace(self, tool=tool)


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that ended with an exit code that was asked for. Output is in files."""

    exit_code: int
    stdout: Path
    stderr: Path
    stderr_tail: str


class ScanContext(Protocol):
    """All that a scanner gets."""

    @property
    def target(self) -> str:
        """The target as it was asked for, for messages. The tool runs in it, as `.`."""
        ...

    @property
    def work_dir(self) -> Path:
        """An empty directory of this scan, removed after it. Reports go here."""
        ...

    @property
    def cache_dir(self) -> Path:
        """A directory of this scanner, kept between scans, for databases and caches."""
        ...

    @property
    def log(self) -> Log: ...

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program in the target directory and wait for the end of its whole process tree.

        `program` is looked up on PATH, unless it is the scanner's own `program` and the operator
        set `scanners[].binary`. The child's environment is built up from nothing: PATH, HOME and
        TMPDIR in the work directory, LANG, the scanner's `environment` and `environment` given
        here. Raises `ToolMissing`, and `ToolError` for an exit code that is not in `ok`.
        """
        ...

    def parse(self, report: Path, format: str, /) -> ScanReport:  # noqa: A002 - the field's word
        """Name the report that a tool wrote. `ReportUnreadable` if it is not there or empty."""
        ...

    def file_in_target(self, path: str, /) -> str:
        """A file of the target that an option names, as the tool is to be told: `./images/a.tar`.

        Raises `CommandError` where there is no such file, or a link is on the way to it.
        """
        ...

    def progress(self, percent: float | None, message: str) -> None:
        """Say how far the scan is: 0 to 100, or None for a phase without a number."""
        ...


class Scanner(ABC, Generic[Options]):
    """Runs one tool. Registered by `rediver_scanners`.

    `options` is a pydantic model with `extra="forbid"`: the operator's `scanners[].config`, merged
    with what of the command's `config` is in `from_command`, is validated by it. Any other key
    fails the command by name.
    """

    name: ClassVar[str]
    """What `--scanner` and a scan command say. Unique among all plugins."""
    program: ClassVar[str]
    """The program that must be on PATH (or in `scanners[].binary`) for the scanner to be usable."""
    options: type[Options]
    from_command: ClassVar[frozenset[str]] = frozenset({"rules", "exclude", "severity_threshold"})
    """Options that a server's command may set; the others are the operator's alone. Leave out
    what names a file of the host or an address, and what lets a target change its own scan."""
    exclusive_cache: ClassVar[bool] = False
    """Whether one run at a time may use `cache_dir`: others wait, before their time-out begins."""
    environment: ClassVar[Mapping[str, str]] = {}
    """What the tool's environment needs besides PATH, HOME, TMPDIR and LANG."""

    async def probe(self, ctx: ScanContext) -> str:
        """The tool's version. Raises `ToolMissing` or `ToolError` where it cannot be used."""
        done = await ctx.run(self.program, "--version")
        lines = done.stdout.read_text(errors="replace").strip().splitlines()
        return lines[0].strip() if lines else "unknown"

    @abstractmethod
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        """Run the tool on `.` and name its report. Whatever is not a report is an error raised."""


AnyScanner = Scanner[Any]


class CollectContext(Protocol):
    """All that a collector gets."""

    @property
    def cache_dir(self) -> Path:
        """A directory of this collector, kept between collections."""
        ...

    @property
    def log(self) -> Log:
        """The agent's log, with the command's id."""
        ...

    def progress(self, percent: float | None, message: str) -> None:
        """Say how far the collection is: 0 to 100, or None for a phase without a number."""
        ...


CollectEvent = Asset | ParseEvent
"""An `Asset` begins what was found in it: everything until the next one goes into its report."""


class ListenContext(CollectContext, Protocol):
    """All that a collector gets that is pushed to."""

    async def keep(self, asset: Asset, findings: Sequence[Finding], tool: ToolInfo) -> None:
        """Write what was pushed to the agent's disk. It is safe when this returns, not before.

        Raises `CommandError` where there is no room for it: whoever pushed must try again.
        """
        ...


class Collector(ABC, Generic[Options]):
    """Fetches findings from where others keep them, or is pushed to. Has `collect`, `listen` or
    both. Registered by `rediver_collectors`.

    `options` is a pydantic model with `extra="forbid"`: the operator's `collectors[].config`. Of a
    command's `source_config` only the options in `from_command` are taken over it, and any other
    key fails the command by name: a server must not turn a token to another address.
    """

    name: ClassVar[str]
    """What a collect command says. Unique among all plugins."""
    options: type[Options]
    from_command: ClassVar[frozenset[str]] = frozenset()
    """Options that a command may set."""
    choose_assets: ClassVar[frozenset[str]] = frozenset()
    """Options that only choose which assets are fetched, such as a list of repositories. What is
    looked for in each is the same, so that a collection of one may resolve what all have found."""

    def collect(self, ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
        """Everything that is there now: an async generator. The first event is an `Asset`.

        Each asset comes once, with all of its findings after it, and comes even if nothing is found
        in it: what a whole report leaves out counts as mended. So everything is said each time, and
        where not everything was looked at (a missing right, a filter by date) a `Notice` says so:
        `warning`, or `error` if it should have been. What is not there at all is an error raised:
        `ToolError` with a sentence that says what to do. Assets before it are kept.

        It shares the agent's event loop: what blocks belongs into `anyio.to_thread`.
        """
        raise NotImplementedError(f"{self.name} fetches nothing: it is pushed to")

    async def listen(self, ctx: ListenContext, options: Options) -> None:
        """Take what is pushed, and give it to `ctx.keep`, until cancelled. Begins with the agent.

        What it keeps is what changed, never everything: it resolves nothing by leaving it out, so
        a finding that is over comes with its `status`. An error raised is logged, and it is begun
        anew after a while.
        """
        raise NotImplementedError(f"{self.name} is not pushed to: it fetches")

    @property
    def fetches(self) -> bool:
        """Whether it has a `collect`."""
        return type(self).collect is not _Any.collect

    @property
    def listens(self) -> bool:
        """Whether it has a `listen`."""
        return type(self).listen is not _Any.listen


AnyCollector = Collector[Any]
_Any = cast("type[AnyCollector]", Collector)
