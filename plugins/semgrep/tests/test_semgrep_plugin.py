"""The semgrep plugin without semgrep: how it is found, what it runs, what it makes of a run."""

import json
import socket
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from rediver_agent import ReportUnreadable, ToolError, ToolInfo
from rediver_agent.contract import Finding, Severity
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    parse,
    provided,
    scan,
)
from rediver_semgrep import Options, Semgrep
from rediver_semgrep._parse import SemgrepParser
from rediver_semgrep._rules import require_registry, rules_hash

DATA = Path(__file__).parent / "data"
APP = (DATA / "app.json").read_bytes()
RUN = {"report.json": APP, "report.sarif": (DATA / "app.sarif").read_bytes()}
NO_RESULTS = json.dumps(
    {
        "version": "1.180.0",
        "results": [],
        "errors": [{"level": "error", "type": "InvalidRuleSchemaError", "message": "no `id`\n> x"}],
    }
)


def findings(report: bytes) -> list[Finding]:
    return [event for event in parse(SemgrepParser(), report) if isinstance(event, Finding)]


QUOTING = json.dumps(
    {
        "results": [],
        "errors": [
            {"type": "InvalidRuleSchemaError", "message": "'hunter2' is not one of ['LOW']"}
        ],
    }
)


def test_it_is_discovered_by_its_entry_point():
    assert [scanner.name for scanner in provided("semgrep", "scanner")] == ["semgrep"]
    assert [parser.format for parser in provided("semgrep", "parser")] == ["semgrep"]


def test_it_passes_the_standard_checks(tmp_path):
    check_scanner(Semgrep(), {"semgrep": Played(files=RUN)}, tmp_path)
    check_parser(SemgrepParser(), APP)


def test_it_runs_this_command_line(tmp_path):
    rules = tmp_path / "rules"
    rules.mkdir()
    ctx = FakeScanContext(tmp_path, {"semgrep": Played(files=RUN)})

    scan(Semgrep(), ctx, rules=[str(rules)], exclude=["**/vendor/**", "*.min.js"])

    work = ctx.work_dir
    assert ctx.ran == [
        [
            *("semgrep", "scan", "--metrics=off", "--oss-only", "--verbose"),
            *("--no-rewrite-rule-ids", "--disable-nosem"),
            *("--json", f"--output={work}/report.json", f"--sarif-output={work}/report.sarif"),
            *("--x-ignore-semgrepignore-files", "--no-git-ignore", "--exclude=.git"),
            *("--exclude=**/vendor", "--exclude=**/*.min.js"),
            f"--config={rules}",
            ".",
        ]
    ]


def test_options_become_flags_of_their_own():
    options = Options(
        honour_repository_config=True,
        use_git_ignore=True,
        dataflow_traces=True,
        include=["src"],
        exclude_rule=["a.b-c"],
        jobs=1,
        max_memory=500,
        timeout_per_rule=10,
        timeout_threshold=0,
        max_target_bytes=5_000_000,
    )

    assert list(options.flags()) == [
        *("--dataflow-traces", "--jobs=1", "--max-memory=500", "--timeout=10"),
        *("--timeout-threshold=0", "--max-target-bytes=5000000"),
        *("--exclude-rule=a.b-c", "--include=**/src"),
    ]
    assert Options(rules="starter").rules == ["starter"]


def test_the_origins_example_is_taken_as_it_is_written():
    options = Options.model_validate(
        {
            "rules": ["p/security-audit", "p/owasp-top-ten"],
            "exclude": ["**/vendor/**", "**/node_modules/**"],
            "severity_threshold": "warning",
        }
    )

    assert list(options.flags())[-2:] == ["--exclude=**/vendor", "--exclude=**/node_modules"]
    assert options.severity_threshold is Severity.MEDIUM


def test_a_recorded_run_becomes_these_findings(tmp_path):
    report = scan(Semgrep(), FakeScanContext(tmp_path, {"semgrep": Played(files=RUN)}))

    found = findings(report.path.read_bytes())

    assert [
        (f.rule_id, f.location.path, f.location.start_line, f.location.start_column, f.severity)
        for f in found
        if f.location
    ] == [
        ("docker-add-remote", "Dockerfile", 2, 1, "medium"),
        ("py-flask-sql-taint", "api/app.py", 17, 32, "high"),
        ("py-eval-call", "api/app.py", 22, 16, "high"),
        ("py-shell-true", "api/app.py", 28, 12, "medium"),
        ("py-yaml-unsafe-load", "api/app.py", 33, 12, "high"),
        ("todo-security", "api/app.py", 37, 7, "info"),
        ("py-md5", "api/app.py", 38, 12, "info"),
        ("py-debug-flag", "api/app.py", 42, 5, "medium"),
        ("py-eval-call", "api/ignored.py", 5, 12, "high"),
        ("py-eval-call", "api/ignored.py", 9, 12, "high"),
        ("tf-open-ingress", "infra/main.tf", 8, 3, "high"),
        ("js-innerhtml", "web/page.js", 2, 1, "medium"),
        ("js-innerhtml", "web/page.js", 4, 10, "medium"),  # byte 16: two emoji are before it
        ("js-exec-concat", "web/server.js", 6, 3, "critical"),
        ("js-eval-call", "web/server.js", 10, 19, "high"),
        ("js-weak-random", "web/server.js", 14, 19, "low"),
    ]
    silenced = [f.location.start_line for f in found if f.suppression and f.location]
    assert silenced == [5]
    unsafe = next(f for f in found if f.rule_id == "py-yaml-unsafe-load")
    assert unsafe.model_dump(exclude_defaults=True, mode="json") == {
        "type": "vulnerability",
        "title": "yaml.load without a safe loader builds any object the file names.",
        "severity": "high",
        "message": "yaml.load without a safe loader builds any object the file names.",
        "rule_id": "py-yaml-unsafe-load",
        "confidence": 90,
        "location": {
            "path": "api/app.py",
            "start_line": 33,
            "end_line": 33,
            "start_column": 12,
            "end_column": 41,
            "snippet": "    return yaml.load(flask.request.data)",
        },
        "vulnerability": {"cwe_ids": ["CWE-502", "CWE-20"]},
        "remediation": {"fix_code": "yaml.safe_load(flask.request.data)"},
        "tags": ["security"],
    }


def test_the_report_says_which_rules_were_looked_for(tmp_path):
    rule = tmp_path / "rule.yml"
    rule.write_text("rules: []")
    before = rules_hash([str(rule)])
    report = scan(
        Semgrep(), FakeScanContext(tmp_path, {"semgrep": Played(files=RUN)}), rules=[str(rule)]
    )

    assert report.tool == ToolInfo("semgrep", None, {"rules": 13, "rules_hash": before})
    rule.write_text("rules: [{}]")
    assert rules_hash([str(rule)]) != before
    assert rules_hash(["p/python"]) != rules_hash(["p/java"])


@pytest.mark.parametrize("report", ["{}", '{"results": [], "errors": {}}', '{"errors": []}'])
def test_a_run_whose_report_is_none_is_never_made_one(report, tmp_path):
    run = {**RUN, "report.json": report}

    made = scan(Semgrep(), FakeScanContext(tmp_path, {"semgrep": Played(files=run)}))

    with pytest.raises(ReportUnreadable):
        findings(made.path.read_bytes())


def test_a_run_without_a_rule_is_an_error(tmp_path):
    sarif = {"version": "2.1.0", "runs": [{"results": [], "tool": {"driver": {"rules": []}}}]}
    run = {"report.json": b'{"results": [], "errors": []}', "report.sarif": json.dumps(sarif)}

    with pytest.raises(ToolError, match="no rule in starter"):
        scan(Semgrep(), FakeScanContext(tmp_path, {"semgrep": Played(files=run)}))


def test_flows_that_were_asked_for_and_not_told_are_noted(tmp_path):
    ctx = FakeScanContext(tmp_path, {"semgrep": Played(files=RUN)})

    report = scan(Semgrep(), ctx, dataflow_traces=True)

    assert [notice.level for notice in report.notices] == ["info"]


def test_a_twin_that_tells_of_another_result_silences_nothing(tmp_path):
    other = json.loads(RUN["report.sarif"])
    other["runs"][0]["results"] = other["runs"][0]["results"][1:]
    run = {**RUN, "report.sarif": json.dumps(other)}

    report = scan(Semgrep(), FakeScanContext(tmp_path, {"semgrep": Played(files=run)}))

    found = findings(report.path.read_bytes())
    assert len(found) == 16
    assert not any(f.suppression for f in found)


@pytest.mark.parametrize("exit_code", [2, 7])
def test_a_failed_run_without_results_is_an_error_with_semgreps_reason(exit_code, tmp_path):
    ctx = FakeScanContext(
        tmp_path, {"semgrep": Played(exit_code, files={"report.json": NO_RESULTS})}
    )

    with pytest.raises(ToolError, match=f"exit code {exit_code}: InvalidRuleSchemaError: no `id`$"):
        scan(Semgrep(), ctx)


def test_a_failed_run_without_a_report_is_an_error_with_its_last_words(tmp_path):
    ctx = FakeScanContext(tmp_path, {"semgrep": Played(2, stderr="a\nb\nc\nunknown option")})

    with pytest.raises(ToolError, match="b / c / unknown option"):
        scan(Semgrep(), ctx)


@pytest.mark.parametrize(
    "played",
    [
        Played(7, files={"report.json": QUOTING}),
        Played(2, stderr="InvalidVersion: Invalid version: 'hunter2'"),
        Played(8, stderr="invalid language: hunter2"),
    ],
)
def test_nothing_of_a_file_that_a_command_names_as_a_rule_comes_back(played, tmp_path):
    rule = tmp_path / "secrets.yml"
    rule.write_text("rules: [{severity: hunter2}]")

    with pytest.raises(ToolError, match=r"--validate --config=.*secrets\.yml") as told:
        scan(Semgrep(), FakeScanContext(tmp_path, {"semgrep": played}), rules=[str(rule)])

    assert "hunter2" not in str(told.value)


def test_a_folder_of_the_target_never_takes_the_place_of_a_named_rule_set(tmp_path, monkeypatch):
    for name in ("starter", "p/ci"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    options = Options.model_validate({"rules": ["starter", "p/ci", "./starter"]})

    assert options.rules == ["starter", "p/ci", str(tmp_path / "starter")]


def test_a_folder_that_holds_a_whole_disk_is_no_folder_of_rules(tmp_path, monkeypatch):
    monkeypatch.setattr("rediver_semgrep._rules._MAX_ENTRIES", 2)
    for name in "abc":
        (tmp_path / f"{name}.txt").touch()

    with pytest.raises(ToolError, match="name the folder of the rules"):
        rules_hash([str(tmp_path)])


def test_a_failed_run_with_results_is_a_partial_scan(tmp_path):
    ctx = FakeScanContext(tmp_path, {"semgrep": Played(2, files=RUN)})

    report = scan(Semgrep(), ctx)

    assert [notice.level for notice in report.notices] == ["error"]
    assert len(findings(report.path.read_bytes())) == 16


@pytest.mark.parametrize(
    "options",
    [
        {"rules": []},
        {"rules": ["no/such/folder/here.yml"]},
        {"rules": ["/etc/passwd"]},
        {"rules": ["auto"]},  # it sends the project's address to semgrep
        {"rules": ["https://x.test/r"]},  # a command could have any address asked
        {"exclude": ["**"]},
        {"exclude": ["../other"]},
        {"exclude": ["/anchored"]},
        {"severity_threshold": "terrible"},
        {"unknown": 1},
        {"exclude_rule": ["--config=x"]},
        {"include": ["--x"]},
        {"jobs": 0},
        {"jobs": 100_000},
        {"max_memory": -1},
        {"timeout_per_rule": 1.5},
        {"timeout_threshold": -1},
        {"max_target_bytes": "1GB"},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)


@pytest.mark.parametrize(
    ("word", "severity"), [("warning", "medium"), ("ERROR", "high"), ("critical", "critical")]
)
def test_the_threshold_takes_both_vocabularies(word, severity):
    assert Options(severity_threshold=word).severity_threshold == severity


@pytest.mark.parametrize("rule", ["p/security-audit", "r/python.lang"])
def test_registry_rules_fail_fast_where_there_is_no_network(rule):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()

    with pytest.raises(ToolError, match=f"{rule} come from the registry.*cannot be reached"):
        anyio.run(require_registry, [rule], address)


def test_rules_of_this_host_ask_no_registry():
    anyio.run(require_registry, ["starter", "/rules"], ("192.0.2.1", 1))


def test_a_rule_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    broken = tmp_path / "broken.yml"
    broken.symlink_to("/proc/self/mem")  # a file whose reading fails, also for root

    with pytest.raises(ToolError, match=r"broken\.yml cannot be read"):
        rules_hash([str(broken)])
