"""Where an entry of trivy's report stands, and all that it says of itself."""

import json

import pytest

from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_trivy._parse import TrivyParser

CALL = {
    "Resource": "module.bucket",
    "Filename": "main.tf",
    "Location": {"StartLine": 3, "EndLine": 6},
}
LINES = [
    {"Number": 1, "Content": "before", "IsCause": False},
    {"Number": 2, "Content": "acl = public", "IsCause": True},
]
PUBLIC_BUCKET = {
    "ID": "AWS-0092",
    "AVDID": "AVD-AWS-0092",
    "Type": "Terraform Security Check",
    "Title": "Public ACL",
    "Query": "data.builtin.aws.s3",
    "Namespace": "builtin.aws.s3",
    "PrimaryURL": "https://avd.aquasec.com/misconfig/aws-0092",
    "References": ["https://avd.aquasec.com/misconfig/aws-0092", "https://example.com"],
    "Resolution": "Make it private.",
    "Severity": "HIGH",
    "Status": "FAIL",
    "CauseMetadata": {
        "Resource": "aws_s3_bucket.b",
        "Provider": "AWS",
        "Service": "s3",
        "StartLine": 2,
        "EndLine": 2,
        "Code": {"Lines": LINES},
        "Occurrences": [CALL],
    },
}


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


def test_an_advisory_is_known_by_all_of_its_names():
    raw = vulnerability(
        VulnerabilityID="GHSA-aaaa-bbbb-cccc",
        VendorIDs=["GO-2024-1", "CVE-2024-7"],
        PrimaryURL="https://example.com/first",
        References=["https://example.com/second"],
        Status="affected",
        SeveritySource="ghsa",
        PublishedDate="2024-01-02T03:04:05Z",
        LastModifiedDate="2024-02-03T04:05:06Z",
        DataSource={"ID": "ghsa", "Name": "GitHub Security Advisory npm"},
        Layer={"DiffID": "sha256:1"},
    )

    found = only(report_of(result("Vulnerabilities", raw)))

    assert found.vulnerability is not None
    assert found.vulnerability.cve_id == "CVE-2024-7"
    assert found.tags == ["GO-2024-1", "CVE-2024-7"]
    assert found.references == ["https://example.com/first", "https://example.com/second"]
    assert found.properties == {
        "target": "package-lock.json",
        "class": "lang-pkgs",
        "status": "affected",
        "severity_source": "ghsa",
        "published_at": "2024-01-02T03:04:05Z",
        "modified_at": "2024-02-03T04:05:06Z",
        "data_source": "GitHub Security Advisory npm",
        "layer": "sha256:1",
    }


def test_a_misconfiguration_has_its_cause_and_those_who_call_it():
    found = only(
        report_of(result("Misconfigurations", PUBLIC_BUCKET, Target="m/main.tf", Type="terraform"))
    )

    assert found.location is not None
    assert (found.location.start_line, found.location.snippet) == (2, "acl = public")
    (caller,) = found.related_locations
    assert (caller.path, caller.start_line, caller.message) == ("main.tf", 3, "module.bucket")
    assert found.references == [
        "https://avd.aquasec.com/misconfig/aws-0092",
        "https://example.com",
    ]
    assert found.remediation is not None
    assert found.remediation.recommendation == "Make it private."
    assert found.tags == ["AVD-AWS-0092"]
    assert {
        name: found.properties[name] for name in ("namespace", "query", "provider", "service")
    } == {
        "namespace": "builtin.aws.s3",
        "query": "data.builtin.aws.s3",
        "provider": "AWS",
        "service": "s3",
    }


@pytest.mark.parametrize(
    ("target", "kind", "path"),
    [
        ("./images/a.tar (alpine 3.10)", "os-pkgs", "images/a.tar"),
        ("Node.js", "lang-pkgs", "images/a.tar"),
        ("app/package-lock.json", "lang-pkgs", "images/a.tar!/app/package-lock.json"),
        ("/app/a.env", "secret", "images/a.tar!/app/a.env"),
        ("./images/a.tar", "secret", "images/a.tar"),
    ],
)
def test_what_is_found_in_an_images_archive_stands_there(target, kind, path):
    """So it is not taken for a file of that name beside the archive."""
    key = "Secrets" if kind == "secret" else "Vulnerabilities"
    entry = {"RuleID": "r"} if kind == "secret" else vulnerability()
    more = {"ArtifactName": "./images/a.tar", "ArtifactType": "container_image"}

    found = only(report_of(result(key, entry, Target=target, Class=kind), **more))

    assert found.location is not None
    assert found.location.path == path


def test_an_image_by_name_has_its_own_paths():
    more = {"ArtifactName": "alpine:3.10", "ArtifactType": "container_image"}
    entry = vulnerability(PkgPath="app/node_modules/left-pad/package.json")

    found = only(report_of(result("Vulnerabilities", entry, Target="Node.js"), **more))

    assert found.location is not None
    assert found.location.path == "app/node_modules/left-pad/package.json"


@pytest.mark.parametrize("first", ["Target", "Vulnerabilities"])
def test_entries_know_their_result_even_if_its_name_comes_after_them(first):
    entries = [result("Vulnerabilities", vulnerability(), Target=name) for name in "abc"]
    turned = [dict(sorted(each.items(), key=lambda pair: pair[0] != first)) for each in entries]

    events = parse(TrivyParser(), report_of(*turned))

    assert [f.properties["target"] for f in events if isinstance(f, Finding)] == ["a", "b", "c"]


def test_any_number_of_results_may_name_themselves_last():
    names = [f"{number}/{'x' * 990}" for number in range(3000)]
    turned = [{"Vulnerabilities": [vulnerability()], "Target": name} for name in names]

    events = parse(TrivyParser(), report_of(*turned))

    assert [f.properties["target"] for f in events if isinstance(f, Finding)] == names


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
