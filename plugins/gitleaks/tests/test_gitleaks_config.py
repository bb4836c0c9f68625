"""The configurations that gitleaks is given: what is added to them, and which are refused."""

import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import ToolError
from rediver_agent.testing import FakeScanContext, Played, scan
from rediver_gitleaks import Gitleaks, Options

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
VERSION = {"gitleaks version": Played(stdout="8.30.1\n")}
FOLDER = {**VERSION, "gitleaks dir": Played(42, files={"report.json": APP})}


def test_a_configuration_of_the_host_takes_the_place_of_gitleaks_own(tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_text('[[rules]]\nid = "x"\nregex = "x"\n')
    ctx = FakeScanContext(tmp_path, FOLDER)

    before = scan(Gitleaks(), ctx, config=str(ours)).tool
    ours.write_text('[[rules]]\nid = "y"\nregex = "x"\n')
    after = scan(Gitleaks(), FakeScanContext(tmp_path / "2", FOLDER), config=str(ours)).tool

    assert f"--config={ours}" in ctx.ran[-1]
    assert before is not None
    assert after is not None
    assert before.properties["rules_hash"] != after.properties["rules_hash"]


def test_what_is_excluded_is_added_to_a_configuration_of_the_host(tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_text('[[rules]]\nid = "x"\nregex = "x"')
    ctx = FakeScanContext(tmp_path, FOLDER)

    scan(Gitleaks(), ctx, config=str(ours), exclude=["vendor"])

    written = tomllib.loads((ctx.work_dir / "config.toml").read_text())
    assert written["rules"] == [{"id": "x", "regex": "x"}]
    assert len(written["allowlists"]) == 1
    ours.write_text('[extend]\nuseDefault = true\n[allowlist]\npaths = ["x"]')
    with pytest.raises(ToolError, match=r"write it as \[\[allowlists\]\]"):
        scan(Gitleaks(), ctx, config=str(ours), exclude=["vendor"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no rules"),
        ("rules = []", "has no rules"),
        ("[extend]\nuseDefault = false", "has no rules"),
        ('[extend]\npath = "more.toml"', "take from the scanned folder"),
        ("[[rules", "is no TOML"),
    ],
)
def test_a_configuration_that_would_find_nothing_is_refused(text, sentence, tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_text(text)

    with pytest.raises(ValidationError, match=sentence):
        Options.model_validate({"config": str(ours)})


@pytest.mark.parametrize(
    ("extended", "sentence"),
    [
        ('[extend]\npath = "more.toml"', r"base\.toml' extends a relative path"),
        ("[[rules", r"base\.toml' is no TOML"),
        ("", "has no rules"),
        ('[extend]\npath = "{0}"', "gitleaks drops what is 3 steps away"),
    ],
)
def test_what_a_configuration_extends_is_the_operators_too(extended, sentence, tmp_path):
    ours, base = tmp_path / "ours.toml", tmp_path / "base.toml"
    ours.write_text(f'[extend]\npath = "{base}"')
    base.write_text(extended.format(base))

    with pytest.raises(ValidationError, match=sentence):
        Options.model_validate({"config": str(ours)})


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("^conf/", False),
        ("(?i)^conf/", False),
        ("(?:^conf|lib)/", False),
        (r"\Aconf/", False),
        ("(?:^|/)conf/", True),
        ("(/|^)conf/", True),
        ("/[^/]+/", True),
        (r"a\^b", True),
    ],
)
def test_a_path_from_the_root_on_is_refused_where_it_would_never_be_met(pattern, found, tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_text(f"[[rules]]\nid = 'x'\nregex = 'x'\npath = '{pattern}'\n")

    Options.model_validate({"config": str(ours), "history": True})
    Options.model_validate({"config": str(ours), "honour_repository_config": True})
    refusal = nullcontext() if found else pytest.raises(ValidationError, match="begin it with")
    with refusal:
        Options.model_validate({"config": str(ours)})


def test_a_configuration_that_is_extended_counts_as_rules_as_well(tmp_path):
    ours, base = tmp_path / "ours.toml", tmp_path / "base.toml"
    ours.write_text(f'[extend]\npath = "{base}"')
    hashes: set[object] = set()

    for number in range(2):
        base.write_text(f"[[rules]]\nid = 'x'\nregex = '{number}'")
        ctx = FakeScanContext(tmp_path / str(number), FOLDER)
        tool = scan(Gitleaks(), ctx, config=str(ours)).tool
        assert tool is not None
        hashes.add(tool.properties["rules_hash"])

    assert len(hashes) == 2
