"""Parsers that the configuration makes of installed ones: named, never sniffed, made at start."""

import json

import pytest
import yaml

from rediver_agent.configured_parsers import by_file, with_parsers
from rediver_agent.contract.findings import Finding
from rediver_agent.errors import ConfigurationError, ReportUnreadable
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.settings_file import load
from rediver_agent.testing import parse

REGISTRY = build_registry(load_plugins())
MAPPING = {"tool": "lint", "title": "text", "severity": "level"}
REPORT = json.dumps([{"text": "bad", "level": "high"}]).encode()


def configured(tmp_path, *parsers):
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump({"parsers": list(parsers)}))
    return with_parsers(REGISTRY, load(file).parsers)


def test_a_mapping_beside_the_configuration_makes_a_parser_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "lint.yaml").write_text(yaml.safe_dump(MAPPING))
    registry = configured(
        tmp_path,
        {"name": "lint", "mapping": "lint.yaml"},
        {"name": "other", "config": {**MAPPING, "severities": {2: "high"}}},
    )

    for name in ("lint", "other"):
        events = parse(registry.parser(name), REPORT)
        assert [event.title for event in events if isinstance(event, Finding)] == ["bad"]


def test_no_configured_parser_takes_a_report_by_its_content(tmp_path):
    registry = configured(tmp_path, {"name": "lint", "config": MAPPING})

    with pytest.raises(ReportUnreadable, match="no installed parser knows this format"):
        registry.sniff(REPORT)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "sarif", "config": MAPPING}, "sarif is the name of an installed parser"),
        ({"name": "lint"}, "needs `mapping` or `config`"),
        ({"name": "lint", "config": MAPPING, "mapping": "x"}, "and one of them"),
        ({"name": "Lint", "config": MAPPING}, "parsers.0.name"),
        ({"name": "lint", "mapping": "none.yaml"}, "none.yaml does not exist"),
        (
            {"name": "lint", "config": MAPPING, "format": "xml"},
            "no plugin provides the parser 'xml",
        ),
        ({"name": "lint", "config": MAPPING, "format": "sarif"}, "sarif has no options"),
        (
            {"name": "lint", "config": {**MAPPING, "titel": "x"}},
            "the config of lint: titel is not a setting; did you mean title",
        ),
    ],
)
def test_a_parser_that_cannot_be_made_stops_the_start_with_a_sentence(tmp_path, section, words):
    with pytest.raises(ConfigurationError, match=words):
        configured(tmp_path, section)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a list", "must hold options of the parser json"),
        ("", "must hold options"),
        ("tool: [", "is not good YAML"),
        ("tool: a\ntool: b", "tool is there twice"),
        ("tool: a\ntitle: t\nseverity: s\nlocation: {pth: x}", "location.pth .* mean path"),
    ],
)
def test_what_is_wrong_in_a_mapping_file_is_named(tmp_path, text, words):
    file = tmp_path / "lint.yaml"
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        by_file(REGISTRY, "json", file)
