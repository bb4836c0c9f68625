"""The Rediver agent, and the surface that plugins use.

Names are imported when they are first used, so that a command line that needs none of them starts
fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rediver_agent.contract.findings import Asset
    from rediver_agent.errors import (
        CommandError,
        ReportUnreadable,
        ToolError,
        ToolMissing,
    )
    from rediver_agent.hookspecs import hookimpl
    from rediver_agent.interfaces import (
        CollectContext,
        CollectEvent,
        Collector,
        CommandHandler,
        CommandLineScanner,
        Completed,
        Enricher,
        HandlerContext,
        ListenContext,
        NoOptions,
        Notice,
        ObservedCommand,
        Observer,
        ParseEvent,
        Parser,
        ScanContext,
        Scanner,
        ScanReport,
        ToolInfo,
    )
    from rediver_agent.jsonstream import events, items, outline, rewound, top_level
    from rediver_agent.masking import MASK, mask
    from rediver_agent.options import Glob, SeverityWord
    from rediver_agent.severity import (
        severity_from_sarif,
        severity_from_score,
        severity_from_word,
    )

__version__: Final = "0.1.0"

API_VERSION: Final = 1
"""The major version of the plugin surface. A plugin's module says for which it was built."""

_HOME: Final = {
    "Asset": "contract.findings",
    "CommandError": "errors",
    "ReportUnreadable": "errors",
    "ToolError": "errors",
    "ToolMissing": "errors",
    "hookimpl": "hookspecs",
    "CollectContext": "interfaces",
    "CollectEvent": "interfaces",
    "Collector": "interfaces",
    "Completed": "interfaces",
    "ListenContext": "interfaces",
    "Notice": "interfaces",
    "ParseEvent": "interfaces",
    "Parser": "interfaces",
    "CommandHandler": "interfaces",
    "CommandLineScanner": "interfaces",
    "Enricher": "interfaces",
    "HandlerContext": "interfaces",
    "NoOptions": "interfaces",
    "ObservedCommand": "interfaces",
    "Observer": "interfaces",
    "ScanContext": "interfaces",
    "ScanReport": "interfaces",
    "Scanner": "interfaces",
    "ToolInfo": "interfaces",
    "events": "jsonstream",
    "items": "jsonstream",
    "outline": "jsonstream",
    "rewound": "jsonstream",
    "top_level": "jsonstream",
    "MASK": "masking",
    "mask": "masking",
    "Glob": "options",
    "SeverityWord": "options",
    "severity_from_sarif": "severity",
    "severity_from_score": "severity",
    "severity_from_word": "severity",
}

__all__ = [
    "API_VERSION",
    "MASK",
    "Asset",
    "CollectContext",
    "CollectEvent",
    "Collector",
    "CommandError",
    "CommandHandler",
    "CommandLineScanner",
    "Completed",
    "Enricher",
    "Glob",
    "HandlerContext",
    "ListenContext",
    "NoOptions",
    "Notice",
    "ObservedCommand",
    "Observer",
    "ParseEvent",
    "Parser",
    "ReportUnreadable",
    "ScanContext",
    "ScanReport",
    "Scanner",
    "SeverityWord",
    "ToolError",
    "ToolInfo",
    "ToolMissing",
    "__version__",
    "events",
    "hookimpl",
    "items",
    "mask",
    "outline",
    "rewound",
    "severity_from_sarif",
    "severity_from_score",
    "severity_from_word",
    "top_level",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rediver_agent' has no attribute {name!r}")
    return getattr(import_module(f"rediver_agent.{_HOME[name]}"), name)
