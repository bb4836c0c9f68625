"""Our sarif parser, as the shared bench takes one: a path in, findings out.

It is the parser that the agent itself would use: by its entry point, through the registry. Plugins
are loaded when this module is imported, as the bench times the parse and not the imports.
"""

from collections.abc import Iterator
from pathlib import Path

from rediver_agent.contract import Finding
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry

_PARSER = build_registry(load_plugins()).parser("sarif")


def parse(path: str) -> Iterator[Finding]:
    """The findings of a report, one at a time."""
    with Path(path).open("rb") as stream:
        for event in _PARSER.parse(stream):
            if isinstance(event, Finding):
                yield event
