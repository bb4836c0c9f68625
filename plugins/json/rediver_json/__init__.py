"""Reads Rediver's own reports. All behaviour is in `_parse`; this module only registers it."""

from collections.abc import Iterator
from typing import BinaryIO

from rediver_agent import ParseEvent, Parser, hookimpl, top_level
from rediver_json._outline import VERSION
from rediver_json._parse import parse


class JsonParser(Parser):
    """What `rediver-agent scan --format json` prints, or one report of it."""

    format = "json"

    def sniff(self, head: bytes) -> bool:
        """`{"reports": […]}`, or a report with its version and its metadata or tool."""
        keys = top_level(head)
        if isinstance(keys.get("reports"), list):
            return "version" not in keys
        return keys.get("version") == VERSION and ("metadata" in keys or "tool" in keys)

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        return parse(stream)


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    yield JsonParser()
