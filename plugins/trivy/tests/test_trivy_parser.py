"""What trivy's parser makes of each kind of entry, and of what is no report of trivy."""

import json
from pathlib import Path

import pytest

from rediver_agent import Notice, ReportUnreadable, ToolInfo
from rediver_agent.contract import Finding, FindingType
from rediver_agent.testing import parse
from rediver_trivy._parse import TrivyParser

APP = (Path(__file__).parent / "data" / "app.json").read_bytes()


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
        "rule_name": "AWS Access Key ID",
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


def test_what_follows_a_secret_on_its_line_is_not_quoted():
    raw = {"RuleID": "mine", "StartLine": 1, "Match": "ENV A=**** B=hunter2"}

    found = only(report_of(result("Secrets", raw)))

    assert found.location is not None
    assert found.location.snippet == "ENV A=***"


@pytest.mark.parametrize("rule", ["DS-0031", "AVD-DS-0031", "DS031"])
@pytest.mark.parametrize("line", ["ENV A=hunter2 B=hunter2", "ARG A=hunter2", "RUN A=hunter2 ls"])
def test_the_check_for_secrets_in_a_dockerfile_tells_none(rule, line):
    code = {"Lines": [{"Content": line, "IsCause": True}]}
    raw = {"ID": rule, "Status": "FAIL", "CauseMetadata": {"StartLine": 2, "Code": code}}

    found = only(report_of(result("Misconfigurations", raw)))

    assert found.location is not None
    assert found.location.snippet == f"{line.partition('=')[0]}=***"


def test_what_its_vendor_says_is_not_affected_neither_gates_nor_counts():
    found = only(report_of(result("Vulnerabilities", vulnerability(Status="not_affected"))))

    assert found.suppression is not None


def test_a_licence_is_a_matter_of_compliance():
    raw = {
        "Severity": "HIGH",
        "Category": "restricted",
        "PkgName": "gpl-thing",
        "Name": "GPL-3.0",
        "Confidence": 0.93,
    }

    found = only(report_of(result("Licenses", raw, Class="license")))

    assert found.type is FindingType.COMPLIANCE
    assert found.title == "Licence GPL-3.0 of gpl-thing"
    assert (found.confidence, found.properties["category"]) == (93, "restricted")


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


def test_of_many_odd_entries_some_are_told_and_the_others_counted():
    odd = [vulnerability(VulnerabilityID=None) for _ in range(50)]

    events = parse(TrivyParser(), report_of(result("Vulnerabilities", *odd, vulnerability())))

    told = [event for event in events if isinstance(event, Notice)]
    assert len(events) == len(told) + 1
    assert {notice.level for notice in told} == {"error"}
    assert "has no VulnerabilityID" in told[0].message
    assert told[-1].message.startswith("45 more")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ([None], "one of trivy's Results could not be read: it is no object"),
        ([[result("Vulnerabilities", vulnerability())]], "Results could not be read: it is no obj"),
        (
            [{"Target": "a", "Vulnerabilities": vulnerability()}],
            "Vulnerabilities could not be read",
        ),
        (
            [{"Target": "a", "Secrets": "none"}],
            "one of trivy's Secrets could not be read: they are",
        ),
    ],
)
def test_what_cannot_hold_entries_is_no_clean_report(results, said):
    (notice,) = parse(TrivyParser(), report_of(*results))

    assert isinstance(notice, Notice)
    assert notice.level == "error"
    assert said in notice.message


def test_lists_that_are_null_are_empty_ones():
    nothing = {"Target": "a", "Vulnerabilities": None, "Secrets": []}

    assert parse(TrivyParser(), report_of(nothing)) == []


def test_a_part_of_a_cluster_that_was_not_scanned_is_an_error():
    pods = [
        {"Kind": "Pod", "Name": "a", "Error": "image scan error: no space\n at x"},
        {"Kind": "Pod", "Name": "b", "Error": "", "Results": None},
        {"Kind": "Pod", "Name": "c", "Results": [result("Vulnerabilities", vulnerability())]},
    ]
    notice, found = parse(
        TrivyParser(), json.dumps({"ClusterName": "c", "Resources": pods}).encode()
    )

    assert notice == Notice(
        "error", "trivy did not scan a part of the cluster: image scan error: no space"
    )
    assert isinstance(found, Finding)


def test_a_check_in_an_unknown_state_is_a_finding():
    entries = [{"ID": word, "Status": word} for word in ("Fail", "ERROR", "pass")]
    events = parse(TrivyParser(), report_of(result("Misconfigurations", *entries)))

    assert [event.rule_id for event in events if isinstance(event, Finding)] == ["Fail", "ERROR"]
