"""Our parsers, as the instruments take one: a path in, findings out; and ijson alone beside them.

They are the parsers that the agent itself would use: by entry point, through the registry. Plugins
are loaded when this module is imported, as the parse is timed and not the imports.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ijson

from rediver_agent.contract import Finding
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry

_REGISTRY = build_registry(load_plugins())


def _findings(name: str, path: str) -> Iterator[Finding]:
    with Path(path).open("rb") as stream:
        for event in _REGISTRY.parser(name).parse(stream):
            if isinstance(event, Finding):
                yield event


def ijson_only(path: str) -> Iterator[Any]:
    """Every event of one pass, dropped: no value is built."""
    with Path(path).open("rb") as stream:
        for _ in ijson.basic_parse(stream, use_float=True):
            pass
    return iter(())


sarif = partial(_findings, "sarif")
semgrep = partial(_findings, "semgrep")
trivy = partial(_findings, "trivy")
gitleaks = partial(_findings, "gitleaks")
