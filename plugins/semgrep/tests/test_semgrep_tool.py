"""The real semgrep, through the scanner: what it finds, and what a repository cannot hide."""

import json
import re
import shutil
from pathlib import Path

import anyio
import pytest
from agent_context import agent_context, real_scans

from rediver_agent import Notice, ScanReport, ToolError
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_semgrep import Semgrep
from rediver_semgrep._parse import SemgrepParser

pytestmark = pytest.mark.tools

DATA = Path(__file__).parent / "data"
FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
RULE = """
rules:
  - id: {id}
    languages: [{language}]
    severity: ERROR
    message: Found.
    pattern: {pattern}
"""


@pytest.fixture
def target(tmp_path):
    """A folder `app` in a folder, since semgrep takes its ignore files from above the target."""
    directory = tmp_path / "repository" / "app"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def run(tmp_path, target):
    return real_scans(Semgrep(), target, tmp_path / "base")


@pytest.fixture
def rule(tmp_path):
    file = tmp_path / "rule.yml"
    file.write_text(RULE.format(id="eval", language="python", pattern="eval(...)"))
    return str(file)


def write(directory: Path, **files: str) -> None:
    for name, content in files.items():
        file = directory / name.replace("__", "/").replace("_py", ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def findings(report: ScanReport) -> list[Finding]:
    events = parse(SemgrepParser(), report.path.read_bytes())
    return [event for event in events if isinstance(event, Finding)]


def notices(report: ScanReport) -> list[Notice]:
    events = parse(SemgrepParser(), report.path.read_bytes())
    return [*report.notices, *(event for event in events if isinstance(event, Notice))]


def places(report: ScanReport) -> set[tuple[str | None, str | None, int | None]]:
    return {
        (f.rule_id, f.location.path, f.location.start_line) for f in findings(report) if f.location
    }


@pytest.mark.parametrize("pack", ["semgrep-rules", "starter"])
def test_it_finds_what_is_known_to_be_in_the_vulnerable_app(pack, run, target):
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is not there")
    shutil.copytree(FIXTURES / "vulnerable-app", target, dirs_exist_ok=True)
    expected = json.loads((FIXTURES / "vulnerable-app-expected.json").read_text())["semgrep"]

    report = run(rules=[pack if pack == "starter" else str(FIXTURES / pack)])

    known = {(rule, path, line) for rule, path, line, _ in expected["findings"]}
    assert known <= places(report)
    assert not any(path == "api/clean.py" for _, path, _ in places(report))
    assert notices(report) == []


def test_every_starter_rule_finds_its_example_and_nothing_that_is_right(run, target):
    expected: set[tuple[str, str, int]] = set()
    for example in (DATA / "starter").iterdir():
        name = example.name.removesuffix(".txt")
        shutil.copy(example, target / name)
        for number, line in enumerate(example.read_text().splitlines(), start=1):
            if told := re.search(r"ruleid: ([\w-]+)", line):
                expected.add((told[1], name, number + 1))

    assert places(run()) == expected
    pack = "".join(file.read_text() for file in (Path(DATA).parents[1]).rglob("starter/*.yml"))
    assert set(re.findall(r"- id: ([\w-]+)", pack)) == {rule for rule, _, _ in expected}


def test_a_repository_cannot_hide_from_its_scan(run, rule, target):
    write(target, a_py="eval(x)  # nosemgrep\n", hidden__b_py="eval(x)\n", tests__c_py="eval(x)\n")
    for directory in (target, target.parent):
        (directory / ".semgrepignore").write_text("hidden/\n")

    found = {f.location.path: f.suppression for f in findings(run(rules=[rule])) if f.location}

    assert set(found) == {"a.py", "hidden/b.py", "tests/c.py"}
    assert found["a.py"] is not None
    assert found["a.py"].kind == "inSource"
    assert found["hidden/b.py"] is None


def test_a_repositorys_ignore_file_counts_when_the_options_say_so(run, rule, target):
    write(target, a_py="eval(x)\n", hidden__b_py="eval(x)\n")
    (target / ".semgrepignore").write_text("hidden/\n")

    report = run(rules=[rule], honour_repository_config=True)

    assert places(report) == {("eval", "a.py", 1)}


def test_what_is_excluded_is_not_scanned_also_below_the_root_of_a_checkout(run, rule, target):
    write(target, a_py="eval(x)\n", web__b_py="eval(x)\n", lib__web__c_py="eval(x)\n")
    write(target, lib__d_gen_py="eval(x)\n", lib__e__f_py="eval(x)\n")
    anyio.run(anyio.run_process, ["git", "init", "-q", str(target.parent)])

    report = run(rules=[rule], exclude=["web/**", "*gen.py", "**/lib/e/**"])

    assert places(report) == {("eval", "a.py", 1)}


def test_what_was_not_understood_is_told(run, rule, target):
    write(target, a_py="eval(x)\n", broken_py="def f(:\n  eval(x\n", big_py="# x\n" * 300_000)

    report = run(rules=[rule])

    assert places(report) == {("eval", "a.py", 1)}
    assert {(notice.level, notice.path) for notice in notices(report)} == {
        ("warning", "broken.py"),
        ("warning", "big.py"),
    }


def test_a_rule_set_that_is_half_broken_is_a_partial_scan_and_a_broken_one_an_error(
    run, rule, target, tmp_path
):
    write(target, a_py="eval(x)\n")
    bad = tmp_path / "bad.yml"
    bad.write_text(RULE.format(id="bad", language="python", pattern='"eval(("'))

    report = run(rules=[rule, str(bad)])

    assert places(report) == {("eval", "a.py", 1)}
    assert "error" in {notice.level for notice in notices(report)}
    with pytest.raises(ToolError, match="semgrep scanned nothing"):
        run(rules=[str(bad)])


def test_an_empty_target_is_clean(run, rule):
    report = run(rules=[rule])

    assert (findings(report), notices(report)) == ([], [])


def test_the_version_is_known(tmp_path, target):
    scanner = Semgrep()

    with agent_context(scanner, target, tmp_path / "base") as context:
        version = anyio.run(scanner.probe, context)

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
