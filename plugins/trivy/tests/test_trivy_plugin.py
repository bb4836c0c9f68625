"""The trivy plugin without trivy: how it is found, what it runs, what it says of a run."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rediver_agent import Notice, ToolError, ToolInfo
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    provided,
    scan,
)
from rediver_trivy import Trivy
from rediver_trivy._parse import TrivyParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()
LOG = "2026-01-01T00:00:00Z\tINFO\t[secret] Secret scanning is enabled\n"
COUNTED = """\
2026-01-01T00:00:00Z\tINFO\tDetected OS\tfamily="alpine" version="3.10.2"
2026-01-01T00:00:00Z\tINFO\tNumber of language-specific files\tnum=2
2026-01-01T00:00:00Z\tINFO\tDetected config files\tnum=3
"""
LOOKED = {"ls": Played(stdout=".git/\nDockerfile\n"), "find": Played(1)}
RUN = {"trivy": Played(stderr=LOG + COUNTED, files={"report.json": APP}), **LOOKED}
UPDATED = "2026-01-02T03:04:05.123456789Z"
REFUSED = "run error: init error: failed to download: lookup mirror.gcr.io: no such host"


def soon_after() -> datetime:
    return datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC)


def with_database(
    directory: Path,
    metadata: str | None = f'{{"Version": 2, "UpdatedAt": "{UPDATED}"}}',
    of: type[FakeScanContext] = FakeScanContext,
    run: dict[str, Played] = RUN,
) -> FakeScanContext:
    ctx = of(directory, run)
    database = ctx.cache_dir / "db"
    database.mkdir()
    (database / "trivy.db").write_bytes(b"db")
    if metadata is not None:
        (database / "metadata.json").write_text(metadata)
    return ctx


def logged(*lines: str) -> dict[str, Played]:
    log = LOG + "".join(f"2026-01-01T00:00:00Z\t{line}\n" for line in lines)
    return {**RUN, "trivy": Played(stderr=log, files={"report.json": APP})}


def test_it_is_discovered_by_its_entry_point():
    assert [scanner.name for scanner in provided("trivy", "scanner")] == ["trivy"]
    assert [parser.format for parser in provided("trivy", "parser")] == ["trivy"]


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
            *("--disable-telemetry", "--cache-backend=memory", "--timeout=8760h"),
            "--offline-scan",
            *("--skip-java-db-update", "--skip-check-update", "--skip-db-update"),
            *("--config=", "--ignorefile=", "--secret-config="),
            *("--skip-dirs=**/vendor", "--skip-files=**/vendor"),
            *("--skip-dirs=**/lib/*.tf", "--skip-files=**/lib/*.tf"),
            ".",
        ],
        ["ls", "-Ap"],
        [
            *("find", ".", "(", "-name", ".git", "-o", "-name", "vendor", ")", "-prune"),
            *("-o", "-type", "f", "!", "-name", "*.md", "(", "-size", "-33554432c"),
            *("-exec", "grep", "-laE", "--", "(trivy|tfsec):(.*:)?ignore:", "{}", "+", "-o"),
            *("-exec", "grep", "-lIE", "--", "(trivy|tfsec):(.*:)?ignore:", "{}", "+", ")"),
        ],
    ]
    assert ctx.environments[0] == {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "GIT_ALLOW_PROTOCOL": "",
    }
    assert report.notices == ()


def test_with_a_network_it_fetches_its_database_first(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not trivy's business")
    ctx = with_database(tmp_path)

    scan(
        Trivy(soon_after),
        ctx,
        scanners=["vuln"],
        offline=False,
        db_repository=["mirror.example/db:2"],
    )

    fetched, scanned, *_ = ctx.ran
    assert "--download-db-only" in fetched
    assert "--db-repository=mirror.example/db:2" in fetched
    assert "--skip-db-update" in scanned
    assert not {"--offline-scan", "--skip-check-update", "--skip-java-db-update"} & {*scanned}
    for environment in ctx.environments[:2]:
        assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"
        assert "AWS_SECRET_ACCESS_KEY" not in environment


def test_a_repositorys_configuration_counts_when_the_options_say_so(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    scan(Trivy(), ctx, honour_repository_config=True)

    assert not any("grep" in argv for argv in ctx.ran)
    assert "--show-suppressed" in ctx.ran[0]
    assert "--ignorefile=" not in ctx.ran[0]


def test_vulnerabilities_without_a_database_are_an_error_that_says_what_to_do(tmp_path):
    ctx = FakeScanContext(tmp_path, RUN)

    with pytest.raises(ToolError, match=r"no vulnerability database.*offline: false"):
        scan(Trivy(), ctx, scanners=["vuln"])
    assert ctx.ran == []


def test_the_report_says_what_was_looked_with(tmp_path):
    ctx = with_database(tmp_path)
    (ctx.cache_dir / "java-db").mkdir()
    (ctx.cache_dir / "java-db" / "metadata.json").write_text(f'{{"UpdatedAt": "{UPDATED}"}}')
    (ctx.cache_dir / "policy").mkdir()
    (ctx.cache_dir / "policy" / "metadata.json").write_text('{"Digest": "sha256:1"}')

    report = scan(Trivy(soon_after), ctx, scanners=["vuln", "misconfig"])

    assert report.tool == ToolInfo(
        "trivy",
        None,
        {
            "database_updated_at": UPDATED,
            "java_database_updated_at": UPDATED,
            "checks": "sha256:1",
            "package_files": 2,
            "config_files": 3,
            "system": "alpine 3.10.2",
        },
    )
    assert report.notices == ()


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ('{"UpdatedAt": "2026-01-02T03:04:05.123456789Z"}', None),
        ('{"UpdatedAt": "2025-11-02T03:04:05.123456789Z"}', "is 62 days old"),
        ('{"UpdatedAt": "yesterday"}', "does not say how old"),
        ("{}", "does not say how old"),
        ("[", "does not say how old"),
        (None, "does not say how old"),
    ],
)
def test_an_old_database_is_said_to_be_old(metadata, sentence, tmp_path):
    ctx = with_database(tmp_path, metadata)

    report = scan(Trivy(soon_after), ctx, scanners=["vuln"])

    assert [notice.level for notice in report.notices] == (["warning"] if sentence else [])
    assert all(sentence in notice.message for notice in report.notices)


def test_a_database_that_cannot_be_fetched_is_an_error_or_is_used_as_it_is(tmp_path):
    refused = Played(1, stderr=f"2026-01-01T00:00:00Z\tFATAL\tFatal error\t{REFUSED}\n")
    run = {"trivy fs": refused}

    with pytest.raises(ToolError, match=r"could not fetch one: run error.*no such host; see"):
        scan(Trivy(), FakeScanContext(tmp_path, run), scanners=["vuln"], offline=False)

    class Flaky(FakeScanContext):
        """Has a network no longer, when the database is to be renewed."""

        async def run(self, program, /, *arguments, **more):
            self._recorded = run if "--download-db-only" in arguments else RUN
            return await super().run(program, *arguments, **more)

    report = scan(
        Trivy(soon_after), with_database(tmp_path, of=Flaky), scanners=["vuln"], offline=False
    )

    assert [notice.level for notice in report.notices] == ["info"]
    assert "could not be renewed" in report.notices[0].message


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("flag error: it is odd", "could not scan: flag error: it is odd"),
        ("run error: unable to initialize archive image: 2 errors\n\t* x", "docker save"),
        ("failed analysis: SBOM decode error: unknown", "CycloneDX or SPDX"),
        ("Java DB update failed: '--skip-java-db-update'", "--download-java-db-only"),
        ("init error: secret config error: `root:x:0` into secret", "names .*…"),
    ],
)
def test_trivys_last_words_are_the_error_with_what_helps(said, sentence, tmp_path):
    log = f"2026-01-01T00:00:00Z\tINFO\tx\n2026-01-01T00:00:00Z\tFATAL\tFatal error\t{said}\n"
    ctx = FakeScanContext(tmp_path, {"trivy": Played(1, stderr=log)})

    with pytest.raises(ToolError, match=sentence) as caught:
        scan(Trivy(), ctx)
    assert caught.value.exit_code == 1
    assert "root:x" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"scanners": ["vuln"]}, "info"),
        ({"kind": "image", "input": "a.tar"}, "warning"),
        ({"kind": "sbom", "input": "bom.json"}, "warning"),
    ],
)
def test_a_clean_without_a_package_says_that_there_was_none(options, level, tmp_path):
    log = LOG + "2026-01-01T00:00:00Z\tINFO\tNumber of language-specific files\tnum=0\n"
    run = {**RUN, "trivy": Played(stderr=log, files={"report.json": APP})}
    ctx = with_database(tmp_path, run=run)

    report = scan(Trivy(soon_after), ctx, **options)

    (notice,) = report.notices
    assert (notice.level, "no packages" in notice.message) == (level, True)


def test_severities_that_leave_out_the_unknown_say_so(tmp_path):
    report = scan(Trivy(), FakeScanContext(tmp_path, RUN), severity="HIGH,CRITICAL")

    assert [notice.level for notice in report.notices] == ["info"]
    assert "add UNKNOWN" in report.notices[0].message


def test_a_log_full_of_complaints_is_counted(tmp_path):
    lines = [f'WARN\t[x] Skipping\tfile_path="{number}.tf"' for number in range(1000)]

    report = scan(Trivy(), FakeScanContext(tmp_path, logged(*lines)))

    assert len(report.notices) == 21
    assert report.notices[-1] == Notice("warning", "trivy said 980 things more of that kind")


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

    report = scan(Trivy(), FakeScanContext(tmp_path, {**RUN, "find": Played(stdout=found)}))

    assert [(notice.level, notice.path) for notice in report.notices] == [("warning", "a.tf")]
    assert "a.tf, b.tf, c.tf, d.tf, e.tf and 2 more" in report.notices[0].message


@pytest.mark.parametrize(
    ("looked", "words"),
    [
        ({"ls": Played(stdout="")}, "looked at nothing"),
        ({"ls": Played(stdout=".git/\n")}, "looked at nothing"),
        ({"ls": Played(stdout="a.tf\ndev/\n")}, "never looks into dev"),
        (
            {"find": Played(1, stderr="/bin/find: './locked': Permission denied\n")},
            "could not look into",
        ),
    ],
)
def test_what_trivy_passes_over_without_a_word_is_told(looked, words, tmp_path):
    report = scan(Trivy(), FakeScanContext(tmp_path, {**RUN, **looked}))

    assert [notice.level for notice in report.notices] == ["warning"]
    assert words in report.notices[0].message
