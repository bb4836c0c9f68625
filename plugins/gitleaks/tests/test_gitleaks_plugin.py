"""The gitleaks plugin without gitleaks: how it is found, what it runs, what it makes of a run."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import MASK, Notice, ReportUnreadable, ToolError, ToolInfo
from rediver_agent.contract import Finding
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    discovered,
    parse,
    scan,
)
from rediver_gitleaks import Gitleaks, Options
from rediver_gitleaks._parse import GitleaksParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
VERSION = {"gitleaks version": Played(stdout="8.30.1\n")}
FOLDER = {**VERSION, "gitleaks dir": Played(42, files={"report.json": APP})}
REPOSITORY = Played(stdout=".git\nfalse\n\n")
HISTORY = {**VERSION, "gitleaks git": Played(42, files={"report.json": APP}), "git": REPOSITORY}
LOG = (
    "--log-opts=--full-history --all --diff-filter=tuxdb "
    "--no-ext-diff --no-textconv --no-show-signature"
)


def leak(**more: object) -> dict[str, object]:
    return {
        "RuleID": "generic-api-key",
        "Description": "A key.",
        "StartLine": 3,
        "EndLine": 3,
        "StartColumn": 2,
        "EndColumn": 9,
        "Match": 'key = "hunter2"',
        "Secret": "hunter2",
        "File": "a.env",
        **more,
    }


def only(report: object) -> Finding:
    (found,) = parse(GitleaksParser(), json.dumps(report).encode())
    assert isinstance(found, Finding)
    return found


def tail(work: Path) -> list[str]:
    return [
        *(f"--config={work}/config.toml", f"--report-path={work}/report.json"),
        *("--report-format=json", "--redact", "--exit-code=42", "--log-level=warn"),
        "--no-banner",
    ]


def test_it_is_discovered_by_its_entry_point():
    scanners, parsers = discovered("gitleaks")

    assert [scanner.name for scanner in scanners] == ["gitleaks"]
    assert [parser.format for parser in parsers] == ["gitleaks"]


def test_it_passes_the_standard_checks(tmp_path):
    check_scanner(Gitleaks(), FOLDER, tmp_path / "folder")
    check_scanner(Gitleaks(), HISTORY, tmp_path / "history", history=True)
    check_parser(GitleaksParser(), APP)
    check_parser(GitleaksParser(), json.dumps([leak()] * 9).encode(), secrets=["hunter2"])


def test_a_folder_is_scanned_by_this_command_line_under_a_name_nobody_can_guess(tmp_path):
    ctx = FakeScanContext(tmp_path, FOLDER)

    scan(Gitleaks(), ctx)

    assert ctx.ran[0] == ["gitleaks", "version"]
    program, mode, source, *more = ctx.ran[1]
    assert (program, mode) == ("gitleaks", "dir")
    link = Path(source.removesuffix("/."))
    assert re.fullmatch(r"rediver-target-[0-9a-f]{32}", link.name)
    assert link.readlink() == Path("/proc/self/cwd")
    work = ctx.work_dir
    ignore = ["--ignore-gitleaks-allow", f"--gitleaks-ignore-path={work}"]
    assert more == [*ignore, *tail(work)]
    assert (work / "config.toml").read_text() == "[extend]\nuseDefault = true\n"


def test_the_history_is_scanned_by_this_command_line_through_its_git_directory(tmp_path):
    ctx = FakeScanContext(tmp_path, HISTORY)

    scan(Gitleaks(), ctx, history=True)

    work = ctx.work_dir
    assert ctx.ran == [
        ["gitleaks", "version"],
        ["git", "rev-parse", "--git-dir", "--is-shallow-repository", "--show-prefix"],
        [
            *("gitleaks", "git", ".git", LOG),
            *("--ignore-gitleaks-allow", f"--gitleaks-ignore-path={work}", *tail(work)),
        ],
    ]


@pytest.mark.parametrize(
    ("own", "base"), [(0, 'path = ".gitleaks.toml"'), (1, "useDefault = true")]
)
def test_a_repositorys_configuration_counts_when_the_options_say_so(own, base, tmp_path):
    ctx = FakeScanContext(tmp_path, {**FOLDER, "test": Played(own)})

    scan(Gitleaks(), ctx, honour_repository_config=True)

    assert ctx.ran[-1] == ["gitleaks", "dir", ".", *tail(ctx.work_dir)]
    assert (ctx.work_dir / "config.toml").read_text() == f"[extend]\n{base}\n"


def test_globs_to_exclude_become_paths_of_the_configuration(tmp_path):
    ctx = FakeScanContext(tmp_path, HISTORY)

    scan(Gitleaks(), ctx, history=True, exclude=["**/vendor/**", "a/**/b?.js", "*.min.*"])

    assert (ctx.work_dir / "config.toml").read_text() == (
        "[extend]\nuseDefault = true\n[[allowlists]]\n"
        r'paths = ["^(?:.*/)?vendor(?:/|$)", "^(?:.*/)?a/(?:.*/)?b[^/]\\.js(?:/|$)", '
        r'"^(?:.*/)?[^/]*\\.min\\.[^/]*(?:/|$)"]'
        "\n"
    )


def test_a_recorded_run_becomes_these_findings(tmp_path):
    report = scan(Gitleaks(), FakeScanContext(tmp_path, FOLDER))

    found = parse(GitleaksParser(), report.path.read_bytes())

    assert report.tool == ToolInfo("gitleaks", "8.30.1")
    assert sorted(
        (f.rule_id, f.location.path, f.location.start_line, f.location.start_column, f.severity)
        for f in found
        if isinstance(f, Finding) and f.location
    ) == [
        ("aws-access-token", "config/settings.env", 2, 19, "high"),
        ("generic-api-key", "config/settings.env", 4, 1, "high"),
        ("github-pat", "config/settings.env", 3, 14, "high"),
        ("private-key", "config/deploy_key.pem", 1, 1, "high"),
    ]
    key = next(f for f in found if isinstance(f, Finding) and f.rule_id == "generic-api-key")
    assert key.model_dump(exclude_defaults=True, mode="json") == {
        "type": "secret",
        "title": "Detected a Generic API Key, potentially exposing access to various services and "
        "sensitive operations.",
        "severity": "high",
        "rule_id": "generic-api-key",
        "location": {
            "path": "config/settings.env",
            "start_line": 4,
            "end_line": 4,
            "start_column": 1,
            "end_column": 60,
            "snippet": 'PAYMENTS_API_KEY="***"',
        },
        "vulnerability": {"cwe_ids": ["CWE-798"]},
        "secret": {"secret_type": "generic-api-key", "masked_value": "***"},
    }


def test_a_clean_run_is_an_empty_list_and_exit_code_0(tmp_path):
    clean = {**VERSION, "gitleaks dir": Played(0, files={"report.json": "[]\n"})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, clean))

    assert report.notices == ()
    assert parse(GitleaksParser(), report.path.read_bytes()) == []


def test_a_failure_after_leaks_were_found_is_a_partial_scan(tmp_path):
    stderr = "\x1b[90m2:13PM\x1b[0m \x1b[31mERR\x1b[0m \x1b[1mtimed out\x1b[0m"
    failed = {**VERSION, "gitleaks dir": Played(1, stderr=stderr, files={"report.json": APP})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, failed))

    assert [notice.level for notice in report.notices] == ["error", "error"]
    assert report.notices[1].message == "gitleaks: timed out"


@pytest.mark.parametrize("files", [{}, {"report.json": "[]"}, {"report.json": ""}])
def test_a_failure_without_leaks_is_an_error_with_gitleaks_last_words(files, tmp_path):
    stderr = "2:13PM \x1b[31mFTL\x1b[0m unable to load the config"
    failed = {**VERSION, "gitleaks dir": Played(1, stderr=stderr, files=files)}

    with pytest.raises(ToolError, match=r"gitleaks failed: 2:13PM FTL unable to load the config$"):
        scan(Gitleaks(), FakeScanContext(tmp_path, failed))


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2:13PM ERR [git] fatal: bad object", "error"),
        ("2:13PM WRN skipping file: permission denied path=/w/rediver-target-{}/b", "warning"),
    ],
)
def test_what_was_not_looked_at_is_told_although_gitleaks_ended_with_0(line, level, tmp_path):
    stderr = line.format("0123456789abcdef" * 2) + "\n2:13PM WRN leaks found: 4"
    played = {**VERSION, "gitleaks dir": Played(42, stderr=stderr, files={"report.json": APP})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, played))

    assert [notice.level for notice in report.notices] == [level]
    assert "rediver-target" not in report.notices[0].message


@pytest.mark.parametrize(
    ("repository", "sentence"),
    [
        (Played(128, stderr="fatal: not a git repository"), "has no history.*not a git repository"),
        (Played(stdout="/srv/app/.git\nfalse\nlib/\n"), "is a folder in a repository"),
    ],
)
def test_a_history_that_is_not_there_is_an_error(repository, sentence, tmp_path):
    with pytest.raises(ToolError, match=sentence):
        scan(Gitleaks(), FakeScanContext(tmp_path, {**HISTORY, "git": repository}), history=True)


def test_a_shallow_clone_is_not_a_whole_history(tmp_path):
    shallow = {**HISTORY, "git": Played(stdout=".git\ntrue\n\n")}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, shallow), history=True)

    assert [notice.level for notice in report.notices] == ["warning"]


@pytest.mark.parametrize(
    ("match", "secret", "shown"),
    [
        ('key = "hunter2"', "hunter2", 'key = "***"'),
        ("hunter2 hunter2", "hunter2", "*** ***"),
        ("REDACTED", "REDACTED", MASK),
        ("key = aHVudGVyMg==", "hunter2", MASK),
        ("key = hunter2", "", MASK),
        ("key = hunter2\n", "hunter2\n", "key = ***"),
    ],
)
def test_nothing_of_a_secret_is_kept_from_a_report_that_was_not_redacted(match, secret, shown):
    found = only([leak(Match=match, Secret=secret, Line=match, Message=f"commit of {secret}")])

    assert found.location is not None
    assert found.location.snippet == shown
    assert "hunter2" not in found.model_dump_json()


def test_a_decoded_secret_is_not_quoted_in_the_form_it_had():
    found = only([leak(Match="aHVudGVyMg== hunter2", Tags=["decoded:base64", "decode-depth:1"])])

    assert found.location is not None
    assert found.location.snippet == MASK


@pytest.mark.parametrize(
    ("lines", "given", "meant"), [((1, 1), (1, 20), (1, 21)), ((2, 2), (20, 39), (19, 39))]
)
def test_columns_are_put_right_where_gitleaks_counts_one_too_many(lines, given, meant):
    raw = leak(StartLine=lines[0], EndLine=lines[1], StartColumn=given[0], EndColumn=given[1])

    location = only([raw]).location

    assert location is not None
    assert (location.start_column, location.end_column) == meant


def test_a_leak_of_the_history_names_its_commit_and_no_person():
    found = only([leak(Commit="abc", Date="2024-01-01T00:00:00Z", Author="A", Email="a@b.test")])

    assert found.properties == {"commit": "abc", "date": "2024-01-01T00:00:00Z"}
    assert "a@b.test" not in found.model_dump_json()


def test_an_empty_list_is_clean_and_null_is_not():
    assert parse(GitleaksParser(), b"[]") == []
    assert [type(event) for event in parse(GitleaksParser(), b"null")] == [Notice]


@pytest.mark.parametrize("report", [b"{}", b'{"findings": []}', b"7", b'"[]"', b"[] []"])
def test_what_is_not_a_list_is_no_report(report):
    with pytest.raises(ReportUnreadable):
        parse(GitleaksParser(), report)


def test_an_odd_entry_is_told_without_quoting_it_and_costs_no_other():
    odd = leak(StartLine={"hunter2": 1})

    events = parse(GitleaksParser(), json.dumps([odd, leak(), "hunter2"]).encode())

    assert [type(event) for event in events] == [Notice, Finding, Notice]
    assert "hunter2" not in repr(events)


@pytest.mark.parametrize("options", [{"rules": ["x"]}, {"history": "often"}, {"exclude": ["*"]}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)
