"""Reads SARIF 2.1.0 of any tool. All behaviour is in `_parse`; this module only registers it."""

from collections.abc import Iterator
from typing import BinaryIO

from rediver_agent import ParseEvent, Parser, hookimpl, top_level
from rediver_sarif._parse import parse

rediver_api = 1


class SarifParser(Parser):
    """SARIF 2.1.0, whoever wrote it."""

    format = "sarif"

    def sniff(self, head: bytes) -> bool:
        """An object with `runs`, or with SARIF's schema. Of any version: `parse` names it."""
        keys = top_level(head)
        return "runs" in keys or "sarif" in str(keys.get("$schema", "")).lower()

    def parse(self, stream: BinaryIO) -> Iterator[ParseEvent]:
        return parse(stream)


@hookimpl
def rediver_parsers() -> Iterator[Parser]:
    yield SarifParser()
