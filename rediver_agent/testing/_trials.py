"""Trials of a plugin: what its tools do, and how its command has to end. Nothing is run here."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from rediver_agent.testing._checks import fail, shows
from rediver_agent.testing._contexts import Played, Recorded, as_bytes

UNUSED_EXIT_CODE: Final = 113
TIME_OUT_SECONDS: Final = 1
_LONG_SECONDS: Final = 600

Ending = Literal["ends", "is killed", "hangs"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One command: what the programs do that it runs, and how it has to end."""

    what: str
    programs: Recorded
    advice: str
    status: str = "failed"
    reason: str | None = None
    hostile: frozenset[str] = frozenset()
    """The programs, as they are named in `programs`, that end as `ending` says."""
    ending: Ending = "ends"
    seconds: int = _LONG_SECONDS
    cancelled: bool = False
    """Whether the command is cancelled when its hostile program and a child of it stand."""
    without_tool: bool = False

    def recording(self, work_dir: str) -> dict[str, Any]:
        """What the player reads."""
        return {
            "work_dir": work_dir,
            "programs": {
                name: {
                    "exit_code": played.exit_code,
                    "stdout": as_bytes(played.stdout).decode("latin-1"),
                    "stderr": played.stderr.encode().decode("latin-1"),
                    "files": {
                        file: as_bytes(content).decode("latin-1")
                        for file, content in played.files.items()
                    },
                    "ending": self.ending if name in self.hostile else "ends",
                }
                for name, played in self.programs.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a trial: the result and the findings, as a server would get them."""

    result: Mapping[str, Any]
    documents: list[Any]
    left: int

    @property
    def reason(self) -> str | None:
        return self.result["metadata"].get("reason")


def judge(trial: Trial, ran: Ran, secrets: Collection[str]) -> None:
    """Fail with what to change unless it ended as it had to."""
    if ran.left:
        fail(
            f"{trial.what}: {ran.left} of its processes were left running: start programs by "
            "ctx.run alone, and let a cancellation go"
        )
    status, error = ran.result["status"], ran.result.get("error")
    wrong = status != trial.status or (trial.reason and ran.reason != trial.reason)
    if wrong or ran.reason == "plugin_error":
        said = f"{status} ({ran.reason})" if ran.reason else status
        fail(
            f"{trial.what}: the command ended as {said}"
            f"{f': {error}' if error else ''} — {trial.advice}"
        )
    if ran.result["metadata"].get("survivors"):
        fail(f"{trial.what}: a process survived: start programs by ctx.run alone")
    if shows(secrets, [ran.result, ran.documents]):
        fail(
            f"{trial.what}: a secret shows in what goes to the server: mask it in the parser; the "
            "value of an option is masked by the agent where the option's name says what it is, "
            "such as `api_token`"
        )


def reporting(recorded: Recorded, on_stdout: str | None) -> frozenset[str]:
    """The programs that leave the report: those that leave files, or the one that prints it."""
    return frozenset(name for name, played in recorded.items() if played.files) or frozenset(
        {on_stdout} if on_stdout else recorded
    )


def changed(recorded: Recorded, names: Iterable[str], **change: Any) -> dict[str, Played]:
    """The same recording, where the programs of these names did something else."""
    return {**recorded, **{name: replace(recorded[name], **change) for name in names}}


def without_report(recorded: Recorded, names: Iterable[str]) -> dict[str, Played]:
    """They left nothing at all."""
    return changed(recorded, names, files={}, stdout=b"")


def emptied(recorded: Recorded, names: Iterable[str]) -> dict[str, Played]:
    """They left their files, with nothing in them."""
    return _rewritten(recorded, names, _nothing)


def cut(recorded: Recorded, names: Iterable[str]) -> dict[str, Played]:
    """They left the first half of what they left."""
    return _rewritten(recorded, names, _half)


def _nothing(_content: bytes) -> bytes:
    return b""


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2].rstrip()[:-1]  # never at the end of a line


def _rewritten(
    recorded: Recorded, names: Iterable[str], write: Callable[[bytes], bytes]
) -> dict[str, Played]:
    rewritten = dict(recorded)
    for name in names:
        played = recorded[name]
        files = {file: write(as_bytes(content)) for file, content in played.files.items()}
        stdout = played.stdout if files else write(as_bytes(played.stdout))
        rewritten[name] = replace(played, files=files, stdout=stdout)
    return rewritten
