"""The gitleaks plugin without gitleaks: how it is found, what it runs, what it makes of a run."""

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from rediver_agent import Notice, ToolError
from rediver_agent.contract import Finding
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    parse,
    provided,
    scan,
)
from rediver_gitleaks import Gitleaks, Options
from rediver_gitleaks._history import log_options
from rediver_gitleaks._parse import GitleaksParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
VERSION = {"gitleaks version": Played(stdout="8.30.1\n")}
FOLDER = {**VERSION, "gitleaks dir": Played(42, files={"report.json": APP})}
HEAD = "9326f35380636bcbe61e94b0584d1618c4b5c2c2"
HISTORY = {
    **VERSION,
    "gitleaks git": Played(42, files={"report.json": APP}),
    "git rev-parse": Played(stdout=f"false\nsha1\n.git\n\n{HEAD}\n"),
    "realpath": Played(stdout="/srv/app\n/srv/app/.git\n"),
    "find": Played(),
    "git config": Played(1),
}
LOG = "--log-opts=--full-history --all --diff-filter=tuxdb"


def tail(work: Path) -> list[str]:
    return [
        *(f"--config={work}/config.toml", f"--report-path={work}/report.json"),
        *("--report-format=json", "--redact", "--exit-code=42", "--log-level=info"),
        "--no-banner",
    ]


def test_it_is_discovered_by_its_entry_point():
    assert [scanner.name for scanner in provided("gitleaks", "scanner")] == ["gitleaks"]
    assert [parser.format for parser in provided("gitleaks", "parser")] == ["gitleaks"]


def test_it_passes_the_standard_checks(tmp_path):
    check_scanner(Gitleaks(), FOLDER, tmp_path)
    check_parser(GitleaksParser(), APP)


@pytest.mark.slow
def test_it_passes_the_standard_checks_in_a_history_with_its_many_programs(tmp_path):
    check_scanner(Gitleaks(), HISTORY, tmp_path, history=True)


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


def test_the_history_is_scanned_by_this_command_line_in_a_git_directory_of_our_own(tmp_path):
    ctx = FakeScanContext(tmp_path, HISTORY)

    scan(Gitleaks(), ctx, history=True)

    work = ctx.work_dir
    ours = work / "history.git"
    assert [argv[:2] for argv in ctx.ran[:-1]] == [
        *(["gitleaks", "version"], ["git", "rev-parse"], ["realpath", "--"]),
        *(["find", "("], ["git", "config"]),
    ]
    assert ctx.ran[-1] == [
        *("gitleaks", "git", str(ours), LOG),
        *("--ignore-gitleaks-allow", f"--gitleaks-ignore-path={work}", *tail(work)),
    ]
    assert (ours / "HEAD").read_text() == f"{HEAD}\n"


@pytest.mark.parametrize(("absent", "config"), [(0, ".gitleaks.toml"), (1, "{}/config.toml")])
def test_a_repositorys_configuration_counts_when_the_options_say_so(absent, config, tmp_path):
    ctx = FakeScanContext(tmp_path, {**FOLDER, "test": Played(absent)})

    scan(Gitleaks(), ctx, honour_repository_config=True)

    work = ctx.work_dir
    expected = ["gitleaks", "dir", ".", f"--config={config.format(work)}", *tail(work)[1:]]
    assert ctx.ran[-1] == expected


def test_globs_to_exclude_become_paths_of_the_configuration(tmp_path):
    ctx = FakeScanContext(tmp_path, HISTORY)

    scan(Gitleaks(), ctx, history=True, exclude=["**/vendor/**", "a/**/b?.js", "*.min.*"])

    assert (ctx.work_dir / "config.toml").read_text() == (
        "[extend]\nuseDefault = true\n\n[[allowlists]]\n"
        r'paths = ["^(?:.*/)?vendor(?:/|$)", "^(?:.*/)?a/(?:.*/)?b[^/]\\.js(?:/|$)", '
        r'"^(?:.*/)?[^/]*\\.min\\.[^/]*(?:/|$)"]'
        "\n"
    )


def test_a_recorded_run_becomes_these_findings(tmp_path):
    report = scan(Gitleaks(), FakeScanContext(tmp_path, FOLDER))

    found = parse(GitleaksParser(), report.path.read_bytes())

    assert report.tool is not None
    assert (report.tool.name, report.tool.version) == ("gitleaks", "8.30.1")
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
        "properties": {"entropy": 4.67},
    }


def test_options_become_flags_of_their_own(tmp_path):
    ctx = FakeScanContext(tmp_path, FOLDER)

    scan(
        Gitleaks(),
        ctx,
        rules=["github-pat", "private-key"],
        max_target_megabytes=5,
        max_decode_depth=0,
        max_archive_depth=2,
    )

    assert ctx.ran[-1][-5:] == [
        *("--enable-rule=github-pat", "--enable-rule=private-key"),
        *("--max-target-megabytes=5", "--max-decode-depth=0", "--max-archive-depth=2"),
    ]


def test_of_a_history_a_branch_and_a_day_can_be_chosen(tmp_path):
    ours = tmp_path / "history.git"
    ctx = FakeScanContext(tmp_path, {"git": Played(stdout=f"{HEAD}\n")})
    gone = FakeScanContext(tmp_path, {"git": Played(1)})
    with pytest.raises(ToolError, match="no branch"):
        anyio.run(log_options, gone, ours, "gone", None)

    log = anyio.run(log_options, ctx, ours, "release/1.0", date(2026, 1, 31))

    assert log == LOG.replace("--all", f"{HEAD} --since=2026-01-31T00:00:00Z")
    assert ctx.ran[-1][-3:] == ["--quiet", "--end-of-options", "release/1.0^{commit}"]


def test_what_the_baseline_has_is_kept_and_suppressed(tmp_path):
    leaks = json.loads(APP)
    known, moved = {**leaks[0], "Secret": "in the clear"}, {**leaks[1], "StartLine": 77}
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps([known, moved]))

    report = scan(Gitleaks(), FakeScanContext(tmp_path, FOLDER), baseline=str(baseline))

    found = [e for e in parse(GitleaksParser(), report.path.read_bytes()) if isinstance(e, Finding)]
    assert len(found) == len(leaks)
    assert [f.rule_id for f in found if f.suppression] == [leaks[0]["RuleID"]]


@pytest.mark.parametrize("text", ["", "{}", "null", "[7]", '[{"a": 1}]', '[{"RuleID": "x"'])
def test_a_baseline_that_is_no_report_is_an_error_and_not_an_empty_one(text, tmp_path):
    baseline = tmp_path / "baseline.json"
    baseline.write_text(text)
    ctx = FakeScanContext(tmp_path, FOLDER)

    with pytest.raises(ToolError, match=r"baseline\.json cannot be used"):
        scan(Gitleaks(), ctx, baseline=str(baseline))
    assert ctx.ran == [["gitleaks", "version"]]


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
        (Played(stdout="false\nsha1\n/srv/app/.git\nlib/\n"), "is a folder in a repository"),
    ],
)
def test_a_history_that_is_not_there_is_an_error(repository, sentence, tmp_path):
    ctx = FakeScanContext(tmp_path, {**HISTORY, "git rev-parse": repository})

    with pytest.raises(ToolError, match=sentence):
        scan(Gitleaks(), ctx, history=True)


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ("0 commits scanned.", "warning", "scanned no commit"),
        ("scanned ~0 bytes (0) in 10ms", "warning", "nothing was looked at"),
        ("scanned ~71 bytes (71 bytes) in 10ms", None, ""),
    ],
)
def test_a_scan_of_nothing_is_no_clean_one(said, level, words, tmp_path):
    stderr = f"2:13PM \x1b[32mINF\x1b[0m {said}\n2:13PM INF no leaks found"
    played = {**VERSION, "gitleaks dir": Played(0, stderr=stderr, files={"report.json": "[]"})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, played))

    assert [notice.level for notice in report.notices] == ([level] if level else [])
    assert all(words in notice.message for notice in report.notices)


def test_files_that_are_larger_than_was_asked_for_are_counted(tmp_path):
    line = "2:13PM WRN skipping file: too large max_size=1MB, size=3MB path=big.bin\n"
    played = {**VERSION, "gitleaks dir": Played(0, stderr=line * 3, files={"report.json": "[]"})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, played), max_target_megabytes=1)

    assert [notice.level for notice in report.notices] == ["info"]
    assert report.notices[0].message.startswith("3 ")


def test_a_thousand_complaints_are_told_by_their_number(tmp_path):
    stderr = "2:13PM WRN skipping file: permission denied path=x\n" * 1000 + "2:13PM ERR last"
    played = {**VERSION, "gitleaks dir": Played(0, stderr=stderr, files={"report.json": "[]"})}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, played))

    assert len(report.notices) == 21
    assert report.notices[-1] == Notice("error", "gitleaks told 981 more problems")


def test_a_failure_is_told_however_much_is_said_after_it(tmp_path):
    large = "2:13PM WRN skipping file: too large max_size=1MB, size=3MB path=big.bin\n"
    stderr = "2:13PM ERR [git] fatal: bad object\n" + large * 1000

    class Tail(FakeScanContext):
        """Keeps of standard error what the agent keeps."""

        async def run(self, program, /, *arguments, **more):
            done = await super().run(program, *arguments, **more)
            return replace(done, stderr_tail=done.stderr_tail[-8192:])

    played = {**VERSION, "gitleaks dir": Played(0, stderr=stderr, files={"report.json": "[]"})}

    report = scan(Gitleaks(), Tail(tmp_path, played))

    assert [notice.level for notice in report.notices] == ["error", "info"]


def test_a_shallow_clone_is_not_a_whole_history(tmp_path):
    shallow = {**HISTORY, "git rev-parse": Played(stdout=f"true\nsha1\n.git\n\n{HEAD}\n")}

    report = scan(Gitleaks(), FakeScanContext(tmp_path, shallow), history=True)

    assert [notice.level for notice in report.notices] == ["warning"]


@pytest.mark.parametrize(
    "options",
    [
        {"rules": ["--config=/x"]},
        {"rule": ["x"]},
        {"history": "often"},
        {"exclude": ["*"]},
        {"exclude": ["**/?*"]},
        {"history": True, "branch": "--output=/tmp/x"},
        {"history": True, "branch": "a b"},
        {"history": True, "since": "last week"},
        {"history": True, "since": "2999-01-01"},
        {"branch": "main"},
        {"since": "2026-01-01"},
        {"baseline": "/no/such/file"},
        {"config": "/no/such/file"},
        {"max_target_megabytes": 0},
        {"max_decode_depth": 1000},
        {"max_archive_depth": -1},
        {"log_opts": "--all"},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)
