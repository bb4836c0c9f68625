"""What bandit is asked for, and what becomes of what it says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import CommandError
from rediver_agent.testing import FakeScanContext, Played, check_scanner, provided, scan
from rediver_bandit import Bandit, Options

SAMPLE = (Path(__file__).parent / "data" / "report.sarif").read_bytes()
RECORDED = {
    "find": Played(stdout="./app.py\0./a,b/-r.py\0"),
    "bandit": Played(exit_code=1, files={"report": SAMPLE}),
}


def test_it_is_found_by_its_entry_point():
    assert [scanner.name for scanner in provided("bandit", "scanner")] == ["bandit"]


def test_the_standard_checks(tmp_path):
    check_scanner(Bandit(), RECORDED, tmp_path)


def test_bandit_is_given_the_regular_files_and_nothing_that_lets_one_hide(tmp_path):
    ctx = FakeScanContext(tmp_path, RECORDED)

    scan(Bandit(), ctx, rules=["B602", "B307"], exclude=[".venv"])

    find, bandit = ctx.ran
    left_out = ["-name", ".venv", "-prune", "-o"]
    assert find == ["find", ".", *left_out, "-type", "f", "-name", "*.py", "-print0"]
    assert bandit == [
        *("bandit", "--quiet", "--ignore-nosec", "--exclude", "", "-t", "B602,B307"),
        *("--format", "sarif", "--output", str(ctx.work_dir / "report")),
        *("--", "./app.py", "./a,b/-r.py"),
    ]


def test_a_target_without_python_is_no_clean_one(tmp_path):
    recorded = {**RECORDED, "find": Played(stdout="")}

    report = scan(Bandit(), FakeScanContext(tmp_path, recorded))

    assert [notice.level for notice in report.notices] == ["warning"]


def test_only_the_files_that_were_asked_for_are_looked_at(tmp_path):
    ctx = FakeScanContext(tmp_path, RECORDED)

    scan(Bandit(), ctx, files=["app.py"])

    assert [argv[0] for argv in ctx.ran] == ["bandit"]
    assert ctx.ran[0][-2:] == ["--", "./app.py"]
    with pytest.raises(CommandError):
        scan(Bandit(), ctx, files=["../other.py"])


@pytest.mark.parametrize(
    "options", [{"rules": ["B1"]}, {"rules": ["-r"]}, {"exclude": ["a/b"]}, {"config": "x"}]
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)
