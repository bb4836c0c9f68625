"""Reads Rediver's own reports, and any tool's JSON by a mapping. This module only registers it:
the former is `_parse`'s part, the latter `_report`'s.
"""

from collections.abc import Iterator
from typing import BinaryIO

from pydantic import BaseModel

from rediver_agent import ParseEvent, Parser, hookimpl, top_level
from rediver_json._mapping import Mapping
from rediver_json._outline import VERSION
from rediver_json._parse import parse
from rediver_json._report import Mapped

rediver_api = 1


class JsonParser(Parser):
    """What `rediver-agent scan --format json` prints, or one report of it."""

    format = "json"
    options = Mapping

    def with_options(self, options: BaseModel) -> Parser:
        """A parser of the tool that the mapping is of."""
        if not isinstance(options, Mapping):
            raise TypeError(f"the options of the parser {self.format} are a Mapping")
        return MappedParser(options)

    def sniff(self, head: bytes) -> bool:
        """`{"reports": […]}`, or a report with its version and its metadata or tool."""
        keys = top_level(head)
        if isinstance(keys.get("reports"), list):
            return "version" not in keys
        return keys.get("version") == VERSION and ("metadata" in keys or "tool" in keys)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        return parse(stream)


class MappedParser(Parser):
    """Reads the JSON or JSON Lines of one tool, by a mapping. It never guesses that a report is
    that tool's.
    """

    format = "json"

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping

    def sniff(self, head: bytes) -> bool:  # noqa: ARG002 - whatever it is
        """No: the mapping was written for one tool, and any other's report may look alike."""
        return False

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        return Mapped(self._mapping).events(stream)


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    yield JsonParser()
