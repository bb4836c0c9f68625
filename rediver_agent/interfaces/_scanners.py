"""What a scanner is handed, what it hands back, and what every scanner is."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol

from rediver_agent.interfaces._options import Log, NoOptions, Options
from rediver_agent.interfaces._parsers import Notice, ToolInfo


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
    options: type[Options] = NoOptions  # pyright: ignore[reportAssignmentType] - the default of the type variable
    from_command: ClassVar[frozenset[str]] = frozenset({"rules", "exclude", "severity_threshold"})
    """Options that a server's command may set; the others are the operator's alone. Leave out
    what names a file of the host or an address, and what lets a target change its own scan."""
    exclusive_cache: ClassVar[bool] = False
    """Whether one run at a time may use `cache_dir`: others wait, before their time-out begins."""
    environment: ClassVar[Mapping[str, str]] = {}
    """What the tool's environment needs besides PATH, HOME, TMPDIR and LANG."""

    version_arguments: ClassVar[Sequence[str]] = ("--version",)
    """What the program is asked for its version with."""

    async def probe(self, ctx: ScanContext) -> str:
        """The tool's version. Raises `ToolMissing` or `ToolError` where it cannot be used."""
        done = await ctx.run(self.program, *self.version_arguments)
        for said in (done.stdout, done.stderr):
            if lines := said.read_text(errors="replace").strip().splitlines():
                return lines[0].strip()
        return "unknown"

    @abstractmethod
    async def scan(self, ctx: ScanContext, options: Options) -> ScanReport:
        """Run the tool on `.` and name its report. Whatever is not a report is an error raised."""


AnyScanner = Scanner[Any]
