"""The trivy plugin without trivy: how it is found, what it runs, what it says of a run."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import ToolError, ToolInfo
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    discovered,
    scan,
)
from rediver_trivy import Options, Trivy
from rediver_trivy._parse import TrivyParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
LOG = "2026-01-01T00:00:00Z\tINFO\t[secret] Secret scanning is enabled\n"
RUN = {"trivy": Played(stderr=LOG, files={"report.json": APP}), "grep": Played(1)}


def logged(*lines: str) -> dict[str, Played]:
    log = LOG + "".join(f"2026-01-01T00:00:00Z\t{line}\n" for line in lines)
    return {**RUN, "trivy": Played(stderr=log, files={"report.json": APP})}


def test_it_is_discovered_by_its_entry_point():
    scanners, parsers = discovered("trivy")

    assert [scanner.name for scanner in scanners] == ["trivy"]
    assert [parser.format for parser in parsers] == ["trivy"]


def test_it_passes_the_standard_checks(tmp_path):
    check_scanner(Trivy(), RUN, tmp_path)
    check_parser(TrivyParser(), APP)


def test_it_runs_this_command_line_without_a_network(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    report = scan(Trivy(), ctx, exclude=["**/vendor/**", "lib/*.tf"])

    assert ctx.ran == [
        [
            *("trivy", "fs", f"--cache-dir={ctx.cache_dir}", "--format=json"),
            *(f"--output={ctx.work_dir}/report.json", "--scanners=secret,misconfig"),
            *("--list-all-pkgs=false", "--no-progress", "--skip-version-check"),
            *("--disable-telemetry", "--offline-scan", "--skip-check-update"),
            *("--skip-db-update", "--skip-java-db-update"),
            *("--config=", "--ignorefile=", "--secret-config="),
            *("--skip-dirs=**/vendor", "--skip-files=**/vendor"),
            *("--skip-dirs=**/lib/*.tf", "--skip-files=**/lib/*.tf"),
            ".",
        ],
        [
            *("grep", "-rIlE", "--exclude-dir=.git", "--exclude=*.md"),
            *("--exclude=vendor", "--exclude-dir=vendor"),
            *("--", "(trivy|tfsec):ignore:", "."),
        ],
    ]
    assert ctx.environments[0] == {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "GIT_ALLOW_PROTOCOL": "",
    }
    assert report.notices == ()


def test_with_a_network_it_may_fetch_what_it_needs(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    scan(Trivy(), ctx, scanners=["vuln"], offline=False)

    assert "--scanners=vuln" in ctx.ran[0]
    assert not {"--offline-scan", "--skip-db-update", "--skip-check-update"} & set(ctx.ran[0])
    assert ctx.environments == [{}]


def test_a_repositorys_configuration_counts_when_the_options_say_so(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    scan(Trivy(), ctx, honour_repository_config=True)

    assert len(ctx.ran) == 1
    assert "--show-suppressed" in ctx.ran[0]
    assert "--ignorefile=" not in ctx.ran[0]


def test_vulnerabilities_without_a_database_are_an_error_that_says_what_to_do(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    with pytest.raises(ToolError, match=r"no vulnerability database.*offline: false"):
        scan(Trivy(), ctx, scanners=["vuln"])
    assert ctx.ran == []


def test_the_report_says_how_old_the_database_is(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)
    database = ctx.cache_dir / "db"
    database.mkdir()
    (database / "trivy.db").write_bytes(b"db")
    (database / "metadata.json").write_text('{"Version": 2, "UpdatedAt": "2026-01-02T03:04:05Z"}')

    report = scan(Trivy(), ctx, scanners=["vuln"])

    assert report.tool == ToolInfo("trivy", None, {"database_updated_at": "2026-01-02T03:04:05Z"})


@pytest.mark.parametrize(
    ("line", "level", "path"),
    [
        (
            'ERROR\t[dockerfile scanner] Failed\tfile_path="Dockerfile" err="x"',
            "warning",
            "Dockerfile",
        ),
        (
            'ERROR\t[terraform parser] Error\tfile_path="a.tf" cause="pw = \\"hunter2\\""',
            "warning",
            "a.tf",
        ),
        ('WARN\t[helm scanner] Skipping chart\tfile_path="helm"', "warning", "helm"),
        ('WARN\t[secret] The file is too large\tfile_path="big.env"', "info", "big.env"),
        ("ERROR\t[terraform evaluator] Failed to load module.", "info", None),
    ],
)
def test_files_that_trivy_could_not_read_are_told_although_it_ended_with_0(
    line, level, path, tmp_path
):
    report = scan(Trivy(), FakeScanContext(tmp_path, logged(line, line)))

    assert [(notice.level, notice.path) for notice in report.notices] == [(level, path)]
    assert "hunter2" not in report.notices[0].message


def test_a_module_that_could_not_be_fetched_counts_where_there_is_a_network(tmp_path):
    run = logged("ERROR\t[terraform evaluator] Failed to load module.")

    report = scan(Trivy(), FakeScanContext(tmp_path, run), offline=False)

    assert [notice.level for notice in report.notices] == ["warning"]


def test_built_in_checks_are_no_complaint(tmp_path):
    run = logged("ERROR\t[misconfig] Falling back to embedded checks\terr=...")

    assert scan(Trivy(), FakeScanContext(tmp_path, run)).notices == ()


def test_a_log_that_is_not_whole_proves_nothing(tmp_path):
    run = {**RUN, "trivy": Played(stderr="...", files={"report.json": APP})}

    report = scan(Trivy(), FakeScanContext(tmp_path, run))

    assert [notice.level for notice in report.notices] == ["warning"]


def test_comments_that_silence_misconfigurations_are_told(tmp_path):
    found = "".join(f"./{name}.tf\n" for name in "gfedcba")

    report = scan(Trivy(), FakeScanContext(tmp_path, {**RUN, "grep": Played(stdout=found)}))

    assert [(notice.level, notice.path) for notice in report.notices] == [("warning", "a.tf")]
    assert "a.tf, b.tf, c.tf, d.tf, e.tf and 2 more" in report.notices[0].message


@pytest.mark.parametrize("options", [{"scanners": []}, {"scanners": ["all"]}, {"rules": ["x"]}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)
