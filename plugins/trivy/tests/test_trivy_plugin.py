"""The trivy plugin without trivy: how it is found, what it runs, what it makes of a run."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from rediver_agent import Notice, ReportUnreadable, ToolError, ToolInfo
from rediver_agent.contract import Finding, FindingType
from rediver_agent.testing import (
    FakeScanContext,
    Played,
    check_parser,
    check_scanner,
    discovered,
    parse,
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


def report_of(*results: object, **more: object) -> bytes:
    header = {"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem"}
    return json.dumps({**header, "Results": results, **more}).encode()


def result(kind: str, *entries: object, **more: object) -> dict[str, object]:
    return {
        "Target": "package-lock.json",
        "Class": "lang-pkgs",
        "Type": "npm",
        kind: entries,
    } | more


def vulnerability(**more: object) -> dict[str, object]:
    return {
        "VulnerabilityID": "CVE-2024-1",
        "PkgName": "left-pad",
        "InstalledVersion": "1.0.0",
        "Severity": "HIGH",
        **more,
    }


def only(report: bytes) -> Finding:
    (found,) = parse(TrivyParser(), report)
    assert isinstance(found, Finding)
    return found


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


def test_a_recorded_run_becomes_these_findings():
    events = parse(TrivyParser(), APP)

    assert events[0] == ToolInfo("trivy", "0.76.0")
    assert [
        (f.type, f.rule_id, f.location.path, f.location.start_line, f.severity)
        for f in events
        if isinstance(f, Finding) and f.location
    ] == [
        ("misconfiguration", "DS-0001", "Dockerfile", 1, "medium"),
        ("misconfiguration", "DS-0002", "Dockerfile", None, "high"),
        ("misconfiguration", "KSV-0001", "deploy/pod.yaml", 8, "medium"),
        ("misconfiguration", "KSV-0003", "deploy/pod.yaml", 8, "low"),
        ("misconfiguration", "AWS-0077", "infra/main.tf", 16, "medium"),
        ("misconfiguration", "AWS-0080", "infra/main.tf", 20, "high"),
        ("secret", "private-key", "config/deploy_key.pem", 2, "high"),
        ("secret", "aws-access-key-id", "config/settings.env", 2, "critical"),
        ("secret", "github-pat", "config/settings.env", 3, "critical"),
    ]
    key = next(f for f in events if isinstance(f, Finding) and f.rule_id == "aws-access-key-id")
    assert key.model_dump(exclude_defaults=True, mode="json") == {
        "type": "secret",
        "title": "AWS Access Key ID",
        "severity": "critical",
        "rule_id": "aws-access-key-id",
        "location": {
            "path": "config/settings.env",
            "start_line": 2,
            "end_line": 2,
            "snippet": "AWS_ACCESS_KEY_ID=***",
        },
        "vulnerability": {"cwe_ids": ["CWE-798"]},
        "secret": {"secret_type": "AWS", "masked_value": "***"},
        "properties": {"target": "config/settings.env", "class": "secret"},
    }
    bucket = next(f for f in events if isinstance(f, Finding) and f.rule_id == "AWS-0077")
    assert bucket.misconfiguration is not None
    assert bucket.misconfiguration.model_dump() == {
        "policy_id": "AWS-0077",
        "resource_type": "terraform",
        "resource_name": "aws_db_instance.notes",
    }


def test_a_vulnerability_has_its_package_and_the_score_of_its_severitys_source():
    raw = vulnerability(
        PkgIdentifier={"PURL": "pkg:npm/left-pad@1.0.0"},
        FixedVersion="1.0.1, 1.1.0",
        SeveritySource="ghsa",
        CweIDs=["CWE-79"],
        Title="left-pad: trouble",
        CVSS={
            "nvd": {"V3Score": 9.8, "V3Vector": "CVSS:3.1/N"},
            "ghsa": {"V2Score": 5, "V3Score": 7.5, "V3Vector": "CVSS:3.1/G"},
        },
    )

    found = only(report_of(result("Vulnerabilities", raw)))

    assert (found.title, found.rule_id, found.severity) == (
        *("left-pad: trouble", "CVE-2024-1", "high"),
    )
    assert found.vulnerability is not None
    assert found.vulnerability.model_dump(exclude_defaults=True) == {
        "cve_id": "CVE-2024-1",
        "cwe_ids": ["CWE-79"],
        "cvss_score": 7.5,
        "cvss_vector": "CVSS:3.1/G",
        "cvss_source": "ghsa",
        "package": "left-pad",
        "purl": "pkg:npm/left-pad@1.0.0",
        "ecosystem": "npm",
        "affected_version": "1.0.0",
        "fixed_versions": ["1.0.1", "1.1.0"],
    }
    assert found.remediation is not None
    assert found.remediation.recommendation == "Upgrade left-pad to 1.0.1 or 1.1.0."


@pytest.mark.parametrize(
    ("scores", "source", "score"),
    [
        ({"redhat": {"V3Score": 3}, "ghsa": {"V3Score": 4}, "nvd": {"V3Score": 5}}, "nvd", 5),
        ({"redhat": {"V3Score": 3}, "ghsa": {"V3Score": 4}}, "ghsa", 4),
        ({"redhat": {"V3Score": 3}, "bitnami": {"V3Score": 6}}, "redhat", 3),
        ({"bitnami": {"V40Score": 6.5}, "nvd": {}}, "bitnami", 6.5),
        ({"nvd": {"V2Score": 2.5}}, "nvd", 2.5),
        ({}, None, None),
        (None, None, None),
    ],
)
def test_without_that_source_the_best_known_score_counts(scores, source, score):
    raw = vulnerability(SeveritySource="debian", CVSS=scores)

    found = only(report_of(result("Vulnerabilities", raw))).vulnerability

    assert found is not None
    assert (found.cvss_source, found.cvss_score) == (source, score)


@pytest.mark.parametrize("severity", ["UNKNOWN", "", None])
def test_an_unknown_severity_is_info_and_says_so(severity):
    found = only(report_of(result("Vulnerabilities", vulnerability(Severity=severity))))

    assert found.severity == "info"
    assert found.properties["severity_source"] == "unknown"


def test_an_advisory_without_a_cve_has_none():
    raw = vulnerability(VulnerabilityID="GHSA-aaaa-bbbb-cccc")

    found = only(report_of(result("Vulnerabilities", raw)))

    assert found.vulnerability is not None
    assert (found.rule_id, found.vulnerability.cve_id) == ("GHSA-aaaa-bbbb-cccc", None)


def test_checks_that_passed_or_are_excepted_are_no_findings():
    entries = [{"ID": state, "Status": state, "Severity": "LOW"} for state in ("PASS", "EXCEPTION")]

    assert parse(TrivyParser(), report_of(result("Misconfigurations", *entries))) == []


def test_a_secret_that_trivy_did_not_mask_is_not_quoted():
    raw = {"RuleID": "mine", "Severity": "HIGH", "StartLine": 1, "Match": "password = hunter2"}

    found = only(report_of(result("Secrets", raw)))

    assert "hunter2" not in found.model_dump_json()
    assert found.location is not None
    assert found.location.snippet == "***"


def test_a_licence_is_a_matter_of_compliance():
    raw = {"Severity": "HIGH", "Category": "restricted", "PkgName": "gpl-thing", "Name": "GPL-3.0"}

    found = only(report_of(result("Licenses", raw, Class="license")))

    assert found.type is FindingType.COMPLIANCE
    assert found.title == "Licence GPL-3.0 of gpl-thing"


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("vulnerability", vulnerability()),
        ("misconfiguration", {"ID": "DS-1", "Status": "EXCEPTION"}),
        ("secret", {"RuleID": "r"}),
        ("license", {"Name": "MIT"}),
    ],
)
def test_what_an_ignore_file_accepts_is_kept_as_suppressed(kind, entry):
    modified = {"Type": kind, "Status": "ignored", "Statement": "", "Source": ".trivyignore"}

    found = only(report_of(result("ExperimentalModifiedFindings", {**modified, "Finding": entry})))

    assert found.suppression is not None
    assert found.suppression.model_dump() == {
        "kind": "external",
        "justification": "ignored by .trivyignore",
    }


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


@pytest.mark.parametrize("results", ["absent", None, []])
def test_a_clean_report_has_no_results(results):
    more = {} if results == "absent" else {"Results": results}
    header = {"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem"}

    assert parse(TrivyParser(), json.dumps({**header, **more}).encode()) == []


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (b'{"SchemaVersion": 2}', "lacks"),
        (b'{"ArtifactName": ".", "ArtifactType": "filesystem"}', "lacks"),
        (b'{"ClusterName": "c"}', "lacks"),
        (b"{}", "lacks"),
        (b"[]", "before trivy 0.20"),
        (report_of(SchemaVersion=3), "SchemaVersion 3; only 2"),
        (report_of(SchemaVersion="2"), "SchemaVersion '2'; only 2"),
        (report_of(Results={}), "Results is not a list"),
        (report_of(Results="none"), "Results is not a list"),
    ],
)
def test_what_is_no_report_of_schema_2_is_refused_by_name(report, sentence):
    with pytest.raises(ReportUnreadable, match=sentence):
        parse(TrivyParser(), report)


def test_an_odd_entry_is_told_and_costs_no_other():
    odd = vulnerability(PkgName={"hunter2": 1})
    entries = result("Vulnerabilities", odd, vulnerability(), 7)
    unknown = result("ExperimentalModifiedFindings", {"Type": "odd", "Finding": {}})

    events = parse(TrivyParser(), report_of(entries, unknown))

    assert [type(event) for event in events] == [Notice, Finding, Notice, Notice]
    assert "hunter2" not in repr(events)


def test_entries_know_which_result_they_stand_in():
    system = result("Vulnerabilities", vulnerability(), Target="host (debian 12)", Class="os-pkgs")
    bare = {"Vulnerabilities": [vulnerability()]}

    lock, host, nowhere = parse(
        TrivyParser(), report_of(result("Vulnerabilities", vulnerability()), system, bare)
    )

    assert isinstance(lock, Finding)
    assert isinstance(host, Finding)
    assert isinstance(nowhere, Finding)
    assert lock.location is not None
    assert lock.location.path == "package-lock.json"
    assert (host.location, host.properties["target"]) == (None, "host (debian 12)")
    assert (nowhere.location, nowhere.properties) == (None, {})


@pytest.mark.parametrize("options", [{"scanners": []}, {"scanners": ["all"]}, {"rules": ["x"]}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        Options.model_validate(options)
