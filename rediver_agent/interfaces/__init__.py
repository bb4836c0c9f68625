"""What plugins implement, and what the agent hands them.

A scanner runs a tool and names its report; a parser turns a report into findings, one at a time; a
collector fetches findings or is pushed to; a handler does the work of a command type of its own; an
enricher changes findings on their way out; an observer is told what the agent does. These are small
base classes, so that a method added later has a default; what the agent hands over is a protocol,
so that a fake needs no inheritance.
"""

from rediver_agent.interfaces._collectors import (
    AnyCollector,
    CollectContext,
    CollectEvent,
    Collector,
    ListenContext,
)
from rediver_agent.interfaces._command_line import CommandLineScanner
from rediver_agent.interfaces._handlers import AnyHandler, CommandHandler, HandlerContext
from rediver_agent.interfaces._options import Log, NoOptions
from rediver_agent.interfaces._parsers import Notice, ParseEvent, Parser, ToolInfo
from rediver_agent.interfaces._scanners import (
    AnyScanner,
    Completed,
    ScanContext,
    Scanner,
    ScanReport,
)
from rediver_agent.interfaces._watchers import (
    AnyEnricher,
    AnyObserver,
    Enricher,
    ObservedCommand,
    Observer,
)

__all__ = [
    "AnyCollector",
    "AnyEnricher",
    "AnyHandler",
    "AnyObserver",
    "AnyScanner",
    "CollectContext",
    "CollectEvent",
    "Collector",
    "CommandHandler",
    "CommandLineScanner",
    "Completed",
    "Enricher",
    "HandlerContext",
    "ListenContext",
    "Log",
    "NoOptions",
    "Notice",
    "ObservedCommand",
    "Observer",
    "ParseEvent",
    "Parser",
    "ScanContext",
    "ScanReport",
    "Scanner",
    "ToolInfo",
]
