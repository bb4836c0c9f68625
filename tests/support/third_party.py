"""Installs plugins that nobody has reviewed: a module and its metadata, on a path of its own."""

import json
import os
import subprocess  # noqa: TID251 - the program is run as a user runs it
from pathlib import Path

from house import BIN


class ThirdParty:
    """Distributions in one directory, and `rediver-agent` with that directory on its path."""

    def __init__(self, directory: Path) -> None:
        self.site = directory / "site"
        self.site.mkdir()
        self.home = directory

    def install(self, name: str, text: str, *, requires: str = "", distribution: str = "") -> None:
        """A distribution `rediver-<name>` 1.0 whose module has this text."""
        distribution = distribution or f"rediver-{name}"
        module = distribution.replace("-", "_")
        (self.site / f"{module}.py").write_text(text)
        info = self.site / f"{module}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(metadata + needs)
        (info / "entry_points.txt").write_text(f"[rediver_agent]\n{name} = {module}\n")

    def agent(self, *arguments, **env) -> subprocess.CompletedProcess:
        """What `rediver-agent` says and how it ends."""
        return subprocess.run(
            [BIN / "rediver-agent", *map(str, arguments)], cwd=self.home,
            capture_output=True, text=True, timeout=100,
            env={
                "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "HOME": str(self.home),
                "PYTHONPATH": str(self.site), "COLUMNS": "200", **env,
            },
        )  # fmt: skip

    def rows(self, *arguments, **env) -> dict[str, dict]:
        """What `plugins --json` says, by name; tools are not asked."""
        done = self.agent("plugins", "--json", "--no-versions", *arguments, **env)
        assert done.returncode == 0, done.stderr
        return {row["name"]: row for row in json.loads(done.stdout)["plugins"]}
