"""An environment that has this project's packages, and in which a plugin may be installed.

It is what a plugin's author has after `pip install rediver-agent[all]`: `pip install` in it changes
nothing of the project's own, and asks no package index.
"""

import os
import site
import subprocess  # noqa: TID251 - the tests start the programs themselves
import sys
import venv
from pathlib import Path

PROGRAMS = {
    "pip": "from pip._internal.cli.main import main",
    "pytest": "from pytest import main",
    "rediver-agent": "from rediver_agent.cli import main",
}


class EnvironmentBeside:
    """Its programs are in `bin`; `variables` are what they need to be told."""

    def __init__(self, directory: Path) -> None:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(directory)
        self.bin = directory / "bin"
        own = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = directory / "lib" / own / "site-packages"
        known = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        (packages / "beside.pth").write_text("".join(known))
        for name, main in PROGRAMS.items():
            program = self.bin / name
            program.write_text(f"#!{self.bin / 'python'}\nimport sys\n{main}\nsys.exit(main())\n")
            program.chmod(0o755)
        self.variables = {
            "PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # so pip reads it: there is none
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_COMPILE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, *argv: str, cwd: Path) -> str:
        """What a program says; a failed test if it fails."""
        done = subprocess.run(
            argv, cwd=cwd, env={**os.environ, **self.variables},
            capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"
        return done.stdout
