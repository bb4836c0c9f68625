"""Writes small SARIF reports and reads them, for the tests beside."""

import json

import pytest

from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_sarif import SarifParser


def report(*results, rules=(), tool="lint", **run):
    if isinstance(tool, str):
        tool = {"driver": {"name": tool, "rules": list(rules)}}
    return {"version": "2.1.0", "runs": [{"tool": tool, "results": list(results), **run}]}


def result(rule="R1", uri="src/a.py", line=3, **more):
    region = {"startLine": line}
    place = {"artifactLocation": {"uri": uri}, "region": region}
    return {
        "ruleId": rule,
        "message": {"text": "m"},
        "locations": [{"physicalLocation": place}],
        **more,
    }


@pytest.fixture
def sarif():
    """Makes a report of one run: `sarif(result, …, rules=[…], **more_of_the_run)`."""
    return report


@pytest.fixture
def a_result():
    """Makes a result: `a_result(rule, uri, line, **more)`."""
    return result


@pytest.fixture
def events():
    """Everything the parser yields for a report, given as JSON values or as bytes."""

    def read(document):
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        return parse(SarifParser(), data)

    return read


@pytest.fixture
def findings(events):
    """The findings of a report, or of a run with these results: `findings(result, rules=[…])`."""

    def read(*results, **run):
        document = results[0] if results and "runs" in results[0] else report(*results, **run)
        return [event for event in events(document) if isinstance(event, Finding)]

    return read
