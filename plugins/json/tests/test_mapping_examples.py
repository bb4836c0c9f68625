"""The mappings in docs/examples read reports of their tools, and the reference page says all that a
mapping may say.
"""

from pathlib import Path

import pytest
import yaml

from rediver_agent import Notice
from rediver_agent.configured_parsers import by_file
from rediver_agent.contract import Finding
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.testing import parse
from rediver_json._mapping import Mapping
from rediver_json._parts import Part

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = sorted((DOCS / "examples" / "mappings").glob("*.yaml"))
DATA = Path(__file__).parent / "data" / "mappings"
PAGE = DOCS / "reference" / "mapping.md"
REGISTRY = build_registry(load_plugins())
FOUND = {
    "bandit": [("high", "B602", "./api/run.py", 3), ("low", "B101", "./api/user.py", 1)],
    "checkov": [
        ("medium", "CKV_AWS_20", "infra/main.tf", 1),
        ("low", "CKV_AWS_18", "infra/main.tf", 1),
    ],
    "eslint": [
        ("high", "no-eval", "web/app.js", 4),
        ("high", "parse-error", "web/app.js", None),
        ("medium", "semi", "web/b.js", 1),
    ],
    "hadolint": [
        ("medium", "DL3008", "Dockerfile", 3),
        ("info", "DL3059", "Dockerfile", 5),
        ("info", "DL3001", "Dockerfile", 6),
    ],
    "npm-audit": [
        (
            "high",
            "https://advisories.example/GHSA-p6mc-m468-83gw",
            "package-lock.json",
            None,
        ),
        ("medium", "dependency", "package-lock.json", None),
    ],
    "pip-audit": [("high", "PYSEC-2019-179", None, None)],
    "shellcheck": [("info", "2086", "run.sh", 3), ("high", "1089", "run.sh", 9)],
    "trufflehog": [
        ("high", "AWS", "config/dev.env", 2),
        ("critical", "Github", "config/prod.env", 7),
    ],
}


def read(name):
    parser = by_file(REGISTRY, "json", DOCS / "examples" / "mappings" / f"{name}.yaml")
    return parse(parser, (DATA / f"{name}.json").read_bytes())


def findings(name):
    return [event for event in read(name) if isinstance(event, Finding)]


@pytest.mark.parametrize("name", [path.stem for path in EXAMPLES])
def test_an_example_reads_its_tools_report(name):
    places = [(f.severity, f.rule_id, f.location or NOWHERE) for f in findings(name)]

    assert [(s, rule, at.path, at.start_line) for s, rule, at in places] == FOUND[name]


class NOWHERE:
    path = start_line = None


def test_what_the_tools_could_not_look_at_is_said():
    warned = [
        name
        for name in FOUND
        if any(isinstance(e, Notice) and e.level == "warning" for e in read(name))
    ]

    assert sorted(warned) == ["bandit", "checkov", "pip-audit"]


def test_a_package_is_known_by_the_key_or_by_what_it_stands_in():
    lodash, _ = (found.vulnerability for found in findings("npm-audit"))
    (flask,) = (found.vulnerability for found in findings("pip-audit"))

    assert (lodash.package, lodash.fixed_versions) == ("lodash", ["4.17.21"])
    assert (lodash.cwe_ids, lodash.cvss_score) == (["CWE-770", "CWE-1321"], 7.4)
    assert (flask.package, flask.affected_version) == ("flask", "0.5")
    assert (flask.cve_id, flask.fixed_versions) == ("CVE-2019-1010083", ["1.0"])


def test_no_secret_of_trufflehog_leaves():
    shown = "".join(map(repr, read("trufflehog")))

    assert not any(secret in shown for secret in ("AKIAEXAMPLE", "wJalrEXAMPLE", "ghp_"))


def keys(model, before=""):
    """Every key of a mapping with what it means."""
    for name, field in model.model_fields.items():
        yield f"`{before}{name}`", field.description
        inner = [each for each in Part.__subclasses__() if each.__name__ in str(field.annotation)]
        if inner:
            yield from keys(inner[0], f"{before}{name}.")


def test_the_reference_has_every_key_and_its_words():
    table = PAGE.read_text().partition("## Keys")[2].partition("\n`tool`")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]

    assert [(row[0].removeprefix("| "), row[1].removesuffix(" |")) for row in rows] == [
        (name, words.replace("|", "\\|")) for name, words in keys(Mapping)
    ]


def test_the_mapping_that_the_readme_shows_is_one():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (mapping,) = [body.partition("```")[0] for body in text.split("```yaml\n")[1:]]

    assert Mapping.model_validate(yaml.safe_load(mapping)).tool.name == "bandit"
