"""The real semgrep, through the scanner: what it finds, and what a repository cannot hide."""

import json
import os
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


def known_in_the_app() -> set[tuple[str, str, int]]:
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is not there")
    expected = json.loads((FIXTURES / "vulnerable-app-expected.json").read_text())["semgrep"]
    return {(rule, path, line) for rule, path, line, _ in expected["findings"]}


def test_it_finds_what_is_known_to_be_in_the_vulnerable_app(run, target):
    known = known_in_the_app()
    shutil.copytree(FIXTURES / "vulnerable-app", target, dirs_exist_ok=True)

    report = run(rules=str(FIXTURES / "semgrep-rules"), jobs=1)

    assert known <= places(report)
    assert not any(path == "api/clean.py" for _, path, _ in places(report))
    assert notices(report) == []
    assert report.tool is not None
    assert report.tool.properties["rules"] == 13


@pytest.fixture(scope="module")
def starter_run(tmp_path_factory):
    """What the starter pack finds in its examples, and in the vulnerable app where that is."""
    base = tmp_path_factory.mktemp("starter")
    target = base / "app"
    (target / "examples").mkdir(parents=True)
    for example in (DATA / "starter").iterdir():
        shutil.copy(example, target / "examples" / example.name.removesuffix(".txt"))
    if FIXTURES.is_dir():
        shutil.copytree(FIXTURES / "vulnerable-app", target / "app")
    return real_scans(Semgrep(), target, base / "base")()


def test_the_starter_pack_finds_what_is_known_to_be_in_the_vulnerable_app(starter_run):
    known = {(rule, f"app/{path}", line) for rule, path, line in known_in_the_app()}

    assert known <= places(starter_run)
    assert not any(path == "app/api/clean.py" for _, path, _ in places(starter_run))
    assert notices(starter_run) == []


def test_every_starter_rule_finds_its_example_and_nothing_that_is_right(starter_run):
    expected: set[tuple[str, str, int]] = set()
    for example in (DATA / "starter").iterdir():
        name = "examples/" + example.name.removesuffix(".txt")
        for number, line in enumerate(example.read_text().splitlines(), start=1):
            if told := re.search(r"ruleid: ([\w-]+)", line):
                expected.add((told[1], name, number + 1))

    found = {place for place in places(starter_run) if str(place[1]).startswith("examples/")}
    assert found == expected
    pack = "".join(file.read_text() for file in (Path(DATA).parents[1]).rglob("starter/*.yml"))
    assert set(re.findall(r"- id: ([\w-]+)", pack)) == {rule for rule, _, _ in expected}


def hidden_checkout(target: Path) -> None:
    """A checkout that hides `hidden/` from semgrep, `built/` from git, and all of itself above."""
    write(target, a_py="eval(x)  # nosemgrep\n", hidden__b_py="eval(x)\n", tests__c_py="eval(x)\n")
    write(target, built__d_py="eval(x)\n")
    for directory in (target, target.parent):
        (directory / ".semgrepignore").write_text("hidden/\n")
    (target / ".gitignore").write_text("built/\n")
    anyio.run(anyio.run_process, ["git", "init", "-q", str(target)])
    write(target, **{".git__hook_py": "eval(x)\n"})


def test_a_repository_cannot_hide_from_its_scan(run, rule, target):
    hidden_checkout(target)

    found = {f.location.path: f.suppression for f in findings(run(rules=[rule])) if f.location}

    assert set(found) == {"a.py", "hidden/b.py", "tests/c.py", "built/d.py"}
    assert found["a.py"] is not None
    assert found["a.py"].kind == "inSource"
    assert found["hidden/b.py"] is None


def test_what_a_repository_ignores_is_left_out_when_the_options_say_so(run, rule, target):
    hidden_checkout(target)

    report = run(rules=[rule], honour_repository_config=True, use_git_ignore=True)

    assert places(report) == {("eval", "a.py", 1), ("eval", "tests/c.py", 1)}


def test_a_checkout_around_the_target_that_ignores_it_hides_nothing(run, rule, target):
    write(target, a_py="eval(x)\n")
    (target.parent / ".gitignore").write_text("app/\n")
    anyio.run(anyio.run_process, ["git", "init", "-q", str(target.parent)])

    assert places(run(rules=[rule])) == {("eval", "a.py", 1)}


def test_what_is_excluded_is_not_scanned_also_below_the_root_of_a_checkout(run, rule, target):
    write(target, a_py="eval(x)\n", web__b_py="eval(x)\n", lib__web__c_py="eval(x)\n")
    write(target, lib__d_gen_py="eval(x)\n", lib__e__f_py="eval(x)\n")
    write(target, z_py="eval(x)\n", lib__big_py="eval(x)\n" + "# x\n" * 3000)
    anyio.run(anyio.run_process, ["git", "init", "-q", str(target.parent)])

    report = run(
        rules=[rule, "starter"],
        include=["lib", "a.py"],
        exclude=["web/**", "*gen.py", "**/lib/e/**"],
        exclude_rule=["py-eval-call"],
        dataflow_traces=True,
        jobs=1,
        max_memory=4000,
        timeout_per_rule=30,
        timeout_threshold=2,
        max_target_bytes=10_000,
    )

    assert ("eval", "a.py", 1) in places(report)
    assert {path for _, path, _ in places(report)} == {"a.py"}
    assert [(notice.level, notice.path) for notice in notices(report)] == [
        ("info", None),
        ("warning", "lib/big.py"),
    ]


def test_what_was_not_understood_is_told(run, rule, target):
    write(target, a_py="eval(x)\n", broken_py="def f(:\n  eval(x\n", big_py="# x\n" * 300_000)
    (target / os.fsdecode(b"\xe9.py")).write_text("eval(x)\n")

    report = run(rules=[rule])

    assert places(report) == {("eval", "a.py", 1)}
    assert {(notice.level, notice.path) for notice in notices(report)} == {
        ("warning", "broken.py"),
        ("warning", "big.py"),
        ("warning", "\ufffd.py"),
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


def test_a_scan_of_nothing_or_for_nothing_is_no_clean_one(run, rule, tmp_path):
    none = tmp_path / "none.yml"
    none.write_text("rules: []\n")

    report = run(rules=[rule])

    assert findings(report) == []
    assert [notice.level for notice in notices(report)] == ["warning"]
    with pytest.raises(ToolError, match=r"there is no rule in .*none\.yml"):
        run(rules=[str(none)])


def test_the_version_is_known(tmp_path, target):
    scanner = Semgrep()

    with agent_context(scanner, target, tmp_path / "base") as context:
        version = anyio.run(scanner.probe, context)

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
