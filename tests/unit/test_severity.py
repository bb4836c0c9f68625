"""Severity is one table: the published vectors hold, for every tool's words."""

import json
from pathlib import Path

import pytest

from rediver_agent import severity_from_sarif, severity_from_score, severity_from_word
from rediver_agent.contract import Severity

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs/reference/vectors/severity.json").read_text("utf-8")
)


@pytest.mark.parametrize("vector", VECTORS["words"], ids=str)
def test_a_tools_word_has_the_published_severity(vector):
    assert severity_from_word(vector["word"]) == vector["severity"]


@pytest.mark.parametrize("vector", VECTORS["scores"], ids=str)
def test_a_score_falls_into_the_published_band(vector):
    assert severity_from_score(vector["score"]) == vector["severity"]


@pytest.mark.parametrize("vector", VECTORS["sarif"], ids=str)
def test_a_sarif_result_has_the_published_severity(vector):
    severity = severity_from_sarif(
        vector["security_severity"], vector["level"], vector["rule_level"]
    )

    assert severity == vector["severity"]


def test_every_severity_can_be_named_by_its_own_word():
    assert [severity_from_word(severity.value) for severity in Severity] == list(Severity)
