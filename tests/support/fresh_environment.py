"""A new virtual environment with what pip installs into it from wheels, and nothing else.

What is not ours comes from the package index, in the versions of the lock files, so that a new
release of another project changes no test.
"""

import os
import re
import subprocess  # noqa: TID251 - the tests start the programs themselves
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "bin"
LOCKS = ("requirements.lock", "tools.lock")  # what both have is as the first has it
_PIN = re.compile(r"^([\w.-]+)==\S+[^\\\n]*", re.MULTILINE)
_OF_PYTHON = ("PYTHON", "VIRTUAL_ENV")


class FreshEnvironment:
    """Its programs are in `bin`."""

    def __init__(self, directory: Path, wheels: Path) -> None:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(directory)
        self.directory, self.bin, self.wheels = directory, directory / "bin", wheels
        self.constraints = directory / "constraints.txt"
        pinned: dict[str, str] = {}
        for lock in LOCKS:
            for pin in _PIN.finditer((ROOT / lock).read_text()):
                pinned.setdefault(pin[1], pin[0].strip())
        self.constraints.write_text("\n".join(pinned.values()))

    def install(self, *requirements: str) -> None:
        """As a user would who has the wheels in a folder; by this project's pip, to save one."""
        flags = ("--quiet", "--disable-pip-version-check", "--no-compile", "--only-binary", ":all:")
        others = {key: said for key, said in os.environ.items() if not key.startswith(_OF_PYTHON)}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"),
                *(*flags, "--find-links", str(self.wheels), "--constraint", str(self.constraints)),
                *requirements,
            ],
            env=others, capture_output=True, text=True, timeout=110,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def variables(self, home: Path) -> dict[str, str]:
        """All that its programs are told: no PYTHONPATH, nothing of who runs the tests."""
        path = os.pathsep.join([str(self.bin), str(TOOLS), "/usr/local/bin", "/usr/bin", "/bin"])
        return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}

    def run(self, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """A program of it, or of the tools, in a directory. What it makes of it is the caller's."""
        return subprocess.run(
            [str(self.bin / argv[0]), *argv[1:]], cwd=cwd, env=self.variables(cwd),
            capture_output=True, text=True, timeout=110,
        )  # fmt: skip

    def missing(self, *modules: str) -> list[str]:
        """Those of these modules that cannot be imported."""
        script = (
            "import importlib.util, sys\n"
            "print(*(name for name in sys.argv[1:] if not importlib.util.find_spec(name)))"
        )
        done = self.run("python", "-I", "-c", script, *modules, cwd=self.directory)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()
