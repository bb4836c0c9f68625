"""The wheels that `make dist` builds, once for all workers of a run."""

import fcntl
import subprocess  # noqa: TID251 - the wheels are built as their makers do
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ("rediver-bandit", "rediver-checksum", "rediver-dependency-track")


def _built(directory: Path, name: str, *command: str, cwd: Path) -> None:
    """Run a build that writes into `directory`, unless another worker has done it."""
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / f"{name}.done"
        if not done.exists():
            build = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
            assert build.returncode == 0, build.stdout + build.stderr
            done.write_text(build.stdout + build.stderr)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A directory of this run, the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def wheels(shared):
    """A directory with the nine wheels."""
    # -o: the environment is there, whatever the lock files' times say
    make = ("make", "-o", ".venv/.ready", "dist", f"DIST={shared / 'dist'}")
    _built(shared / "dist", "make-dist", *make, cwd=ROOT)
    return shared / "dist"


@pytest.fixture(scope="session")
def example_wheels(wheels):
    """The same directory, with those of docs/examples beside them."""
    hatch = (str(ROOT / ".venv" / "bin" / "python"), "-m", "hatchling", "build")
    for name in EXAMPLES:
        command = (*hatch, "--target", "wheel", "--directory", str(wheels))
        _built(wheels, name, *command, cwd=ROOT / "docs" / "examples" / name)
    return wheels
