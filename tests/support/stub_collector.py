"""A third-party collector for tests: a real plugin, found by its entry point.

`install(directory)` writes the distribution `rediver-stubhub` there, to be put on PYTHONPATH. The
collector `stubhub` does what the JSON file in its option `source` says, one step after another, so
that a test decides how a collection goes:

    [{"asset": "org/one", "findings": 2}, {"notice": ["error", "half of it"]}, {"gate": "/open"}]

`findings` is a number or a list of rule ids, `gate` waits until that file is there, `raise` ends it
with a `ToolError` of that text, `crash` with a fault of its own. Each collection that has read the
file adds a line to `begun` in its cache.
"""

import json
from pathlib import Path

PLUGIN = '''
"""Reads what others found from a file."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
from pydantic import BaseModel, SecretStr

from rediver_agent import (
    Asset, CollectContext, CollectEvent, Collector, Notice, ToolError, hookimpl
)
from rediver_agent.contract import Finding, Location


class Options(BaseModel, extra="forbid"):
    source: Path
    token: SecretStr = SecretStr("")
    only: list[str] = []


class StubHub(Collector[Options]):
    name = "stubhub"
    options = Options
    from_command = frozenset({"only"})
    choose_assets = frozenset({"only", "source"})

    async def collect(self, ctx: CollectContext, options: Options) -> AsyncIterator[CollectEvent]:
        steps = json.loads(options.source.read_text())
        with (ctx.cache_dir / "begun").open("a") as log:
            log.write("begun\\n")
        skipped = False
        for number, step in enumerate(steps):
            ctx.progress(100 * number / len(steps), f"step {number}")
            if "asset" in step:
                name = step["asset"]
                skipped = bool(options.only) and name not in options.only
            if "asset" in step and not skipped:
                value = f"https://hub/{name}"
                yield Asset(id="repo", type="repository", value=value, name=name)
            if skipped:
                continue
            while "gate" in step and not Path(step["gate"]).exists():
                await anyio.sleep(0.02)
            rules = step.get("findings", 0)
            for rule in range(rules) if isinstance(rules, int) else rules:
                yield Finding(
                    type="vulnerability", title=f"Alert {rule}", severity="high",
                    rule_id=f"rule-{rule}", location=Location(path="a.txt"),
                )
            if "notice" in step:
                yield Notice(*step["notice"])
            if "raise" in step:
                raise ToolError(step["raise"])
            if "crash" in step:
                raise RuntimeError(step["crash"])


@hookimpl
def rediver_collectors():
    yield StubHub()
'''
METADATA = "Metadata-Version: 2.1\nName: rediver-stubhub\nVersion: 1.0\n"


def install(directory: Path) -> None:
    """Write the plugin."""
    package = directory / "rediver_stubhub"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PLUGIN)
    info = directory / "rediver_stubhub-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text("[rediver_agent]\nstubhub = rediver_stubhub\n")


def section(source: Path, **config: object) -> dict:
    """The collector's entry in `collectors:`, reading `source`."""
    return {"name": "stubhub", "config": {"source": str(source), **config}}


def steps(source: Path, *steps: dict) -> None:
    """Say what the collector is to do."""
    source.write_text(json.dumps(steps))
