"""A program that does what a tool once did: what it said, the files it left, how it ended.

`play.json`, in a directory above its own, says what. Where it is to hang, it and a grandchild in a
session of its own ignore every polite signal, and both are gone by themselves after a while,
whatever became of the test. Started by its path: standard library only, nothing else of the agent.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

PLAY: Final = "play.json"
ROLL: Final = "processes"  # where those who hang sign with their ids
LIFE_SECONDS: Final = 30
_NOT_RECORDED: Final = 127
_POLITE: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def main(name: str, *arguments: str) -> NoReturn:
    """Play what was recorded of the program `name`."""
    place = _place()
    play = json.loads((place / PLAY).read_bytes())
    programs = play["programs"]
    played = programs.get(" ".join((name, *arguments[:1]))) or programs.get(name)
    if played is None:
        sys.stderr.write(f"{name} {' '.join(arguments[:1])} was not recorded\n")
        sys.exit(_NOT_RECORDED)
    for file, content in played["files"].items():
        path = Path(play["work_dir"], file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))
    for stream, content in ((sys.stdout, played["stdout"]), (sys.stderr, played["stderr"])):
        stream.buffer.write(content.encode("latin-1"))
        stream.flush()
    if played["ending"] == "hangs":
        _hang(place / ROLL)
    if played["ending"] == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(played["exit_code"])


def _place() -> Path:
    """Above the target or the work directory; else above the TMPDIR that the agent has set."""
    for begin in (Path.cwd(), Path(os.environ.get("TMPDIR", "/"))):
        for place in begin.parents:
            if (place / PLAY).exists():
                return place
    raise SystemExit("there is no recording here: this program is run by the agent's context alone")


def _hang(roll: Path) -> NoReturn:
    for number in _POLITE:
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    _stay(roll)


def _stay(roll: Path) -> NoReturn:
    signal.alarm(LIFE_SECONDS)
    descriptor = os.open(roll, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    while True:
        signal.pause()


if __name__ == "__main__":
    arguments: Any = sys.argv[1:]
    main(*arguments)
