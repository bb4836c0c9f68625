"""The real trivy with a vulnerability database, written by hand, and no network."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_context import real_scans
from image_archive import write_image
from trivy_database import ALPINE, NPM, advisories, write_database

from rediver_agent import CommandError, ScanReport, ToolError
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_trivy import Trivy
from rediver_trivy._parse import TrivyParser

pytestmark = pytest.mark.tools

Run = Callable[..., ScanReport]

TOKEN = "TOKEN=ghp_" + "uHW06o5qD4ycwRUyILWd5I6X0o4zL4nt3pj7"  # in two: no scanner's business
LOCK = json.dumps(
    {
        "name": "app",
        "lockfileVersion": 2,
        "packages": {
            "": {"dependencies": {"left-pad": "1.0.0"}, "devDependencies": {"dev-pad": "1.0.0"}},
            "node_modules/left-pad": {"version": "1.0.0", "license": "GPL-3.0"},
            "node_modules/dev-pad": {"version": "1.0.0", "dev": True},
        },
    }
)
BILL = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "components": [
        {
            "type": "library",
            "name": "left-pad",
            "version": "1.0.0",
            "purl": "pkg:npm/left-pad@1.0.0",
            "licenses": [{"license": {"id": "GPL-3.0"}}],
        }
    ],
}
DETAILS = {
    "Title": "left-pad: trouble",
    "Severity": "HIGH",
    "CweIDs": ["CWE-79"],
    "VendorSeverity": {"ghsa": 3, "nvd": 4},
    "CVSS": {"nvd": {"V3Score": 9.8}, "ghsa": {"V3Score": 7.5, "V3Vector": "CVSS:3.1/G"}},
}
ADVISORIES = advisories(
    (
        *(NPM, "left-pad", "CVE-2024-0001"),
        {
            "PatchedVersions": ["1.1.0"],
            "VulnerableVersions": ["<1.1.0"],
            "VendorIDs": ["GHSA-aaaa-bbbb-cccc"],
        },
        DETAILS,
    ),
    (NPM, "left-pad", "CVE-2024-0002", {"VulnerableVersions": [">0.0.1"]}, {"Title": "no fix"}),
    (NPM, "dev-pad", "CVE-2024-0003", {"VulnerableVersions": [">0.0.1"]}, DETAILS),
    (ALPINE, "musl", "CVE-2019-14697", {"FixedVersion": "1.1.22-r4"}, {"Severity": "CRITICAL"}),
)
IMAGE = {
    "etc/os-release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.10.2\n',
    "etc/alpine-release": "3.10.2\n",
    "lib/apk/db/installed": "P:musl\nV:1.1.22-r3\nA:x86_64\nL:MIT\no:musl\n\n",
    "app/a.env": f"{TOKEN}\n",
    "app/node_modules/left-pad/package.json": '{"name": "left-pad", "version": "1.0.0"}',
}
VEX = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://example.com/vex",
    "author": "us",
    "timestamp": "2024-01-01T00:00:00Z",
    "version": 1,
    "statements": [
        {
            "vulnerability": {"name": "CVE-2024-0001"},
            "products": [{"@id": "pkg:npm/left-pad@1.0.0"}],
            "status": "not_affected",
            "justification": "vulnerable_code_not_in_execute_path",
        }
    ],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A target with a lock file, an image and a bill of materials; a database in trivy's cache."""
    base = tmp_path_factory.mktemp("trivy")
    target = base / "app"
    target.mkdir()
    (target / "package-lock.json").write_text(LOCK)
    (target / "bom.json").write_text(json.dumps(BILL))
    write_image(target / "images" / "app.tar", IMAGE, {"Env": [TOKEN]})
    whole = (target / "images" / "app.tar").read_bytes()
    (target / "images" / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (base / "outside.tar").write_bytes(whole)
    (target / "images" / "link.tar").symlink_to(base / "outside.tar")
    write_database(base / "agent" / "cache", "2099-01-01T00:00:00Z", ADVISORIES)
    return target


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    return real_scans(Trivy(), place, place.parent / "agent")


def findings(report: ScanReport) -> list[Finding]:
    events = parse(TrivyParser(), report.path.read_bytes())
    return [event for event in events if isinstance(event, Finding)]


def places(report: ScanReport) -> set[tuple[str | None, str | None]]:
    return {(f.location.path if f.location else None, f.rule_id) for f in findings(report)}


def test_a_vulnerable_package_is_found_with_all_that_is_known_of_it(run):
    report = run(scanners=["vuln", "license"])

    found = {f.rule_id: f for f in findings(report)}
    assert {*found} == {"CVE-2024-0001", "CVE-2024-0002", "GPL-3.0-only"}
    about = found["CVE-2024-0001"].vulnerability
    assert about is not None
    assert about.model_dump(exclude_defaults=True) == {
        "cve_id": "CVE-2024-0001",
        "cwe_ids": ["CWE-79"],
        "cvss_score": 7.5,
        "cvss_vector": "CVSS:3.1/G",
        "cvss_source": "ghsa",
        "package": "left-pad",
        "purl": "pkg:npm/left-pad@1.0.0",
        "ecosystem": "npm",
        "affected_version": "1.0.0",
        "fixed_versions": ["1.1.0"],
    }
    assert found["CVE-2024-0001"].tags == ["GHSA-aaaa-bbbb-cccc"]
    assert found["CVE-2024-0002"].properties["severity_source"] == "unknown"
    assert report.notices == ()
    assert report.tool is not None
    assert report.tool.properties == {
        "database_updated_at": "2099-01-01T00:00:00Z",
        "package_files": 1,
    }


def test_what_an_option_asks_for_is_left_out_or_taken_in(run):
    few = run(scanners="vuln", include_dev_deps=True, ignore_unfixed=True, severity="HIGH")

    assert {f.rule_id for f in findings(few)} == {"CVE-2024-0001"}
    more = run(scanners="vuln", include_dev_deps=True)
    assert {f.rule_id for f in findings(more)} >= {"CVE-2024-0003"}


def test_what_the_hosts_files_accept_is_kept_as_suppressed(run, tmp_path):
    (tmp_path / "vex.json").write_text(json.dumps(VEX))
    ignored = "vulnerabilities:\n  - id: CVE-2024-0002\n    statement: we pad by hand\n"
    (tmp_path / "ignore.yaml").write_text(ignored)

    report = run(
        scanners="vuln",
        vex=[str(tmp_path / "vex.json")],
        ignorefile=str(tmp_path / "ignore.yaml"),
    )

    assert {f.rule_id: f.suppression and f.suppression.justification for f in findings(report)} == {
        "CVE-2024-0001": "vulnerable_code_not_in_execute_path",
        "CVE-2024-0002": "we pad by hand",
    }


def test_an_image_in_an_archive_is_scanned_without_a_docker(run):
    report = run(kind="image", input="images/app.tar")

    package = "images/app.tar!/app/node_modules/left-pad/package.json"
    assert places(report) == {
        ("images/app.tar", "CVE-2019-14697"),
        (package, "CVE-2024-0001"),
        (package, "CVE-2024-0002"),
        ("images/app.tar!/app/a.env", "github-pat"),
        ("images/app.tar", "github-pat"),
    }
    assert report.tool is not None
    assert report.tool.properties["system"] == "alpine 3.10.2"
    assert not any("ghp_" in finding.model_dump_json() for finding in findings(report))


def test_a_bill_of_materials_is_scanned(run):
    report = run(kind="sbom", input="bom.json", scanners="vuln,license")

    assert {f.rule_id for f in findings(report)} == {
        "CVE-2024-0001",
        "CVE-2024-0002",
        "GPL-3.0",
    }


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"kind": "image", "input": "images/cut.tar"}, ToolError, "cut off|docker save"),
        ({"kind": "image", "input": "bom.json"}, ToolError, "docker save"),
        ({"kind": "image", "input": "images/link.tar"}, CommandError, "symbolic link"),
        ({"kind": "image", "input": "images"}, CommandError, "no regular file"),
        ({"kind": "image", "input": "nowhere.tar"}, CommandError, "no such file"),
        ({"kind": "sbom", "input": "package-lock.json"}, ToolError, "CycloneDX"),
    ],
)
def test_what_cannot_be_scanned_is_an_error_that_names_why(run, options, kind, sentence):
    with pytest.raises(kind, match=sentence):
        run(**options)


@pytest.mark.slow  # trivy does not end on SIGTERM here: 10 s until it is killed
def test_a_registry_that_never_answers_is_given_up(place):
    """trivy's own `--timeout` does not end this."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        run = real_scans(Trivy(), place, place.parent / "other")

        with pytest.raises(ToolError, match=r"longer than 1 s \(database_timeout\)"):
            run(
                scanners="vuln",
                offline=False,
                database_timeout=1,
                db_repository=[f"127.0.0.1:{port}/aquasec/trivy-db:2"],
            )


def test_own_checks_and_own_rules_for_secrets_of_the_host_are_used(tmp_path):
    target = tmp_path / "app"
    target.mkdir()
    (target / "Dockerfile").write_text("FROM alpine:3\nRUN ls\nUSER a\n")
    (target / "a.env").write_text("mine=abcdefgh12345678\n")
    (tmp_path / "mine.rego").write_text(CHECK)
    (tmp_path / "secret.yaml").write_text(RULE)
    run = real_scans(Trivy(), target, tmp_path / "agent")

    report = run(
        config_check=[str(tmp_path / "mine.rego")], secret_config=str(tmp_path / "secret.yaml")
    )

    assert places(report) >= {("Dockerfile", "MINE-1"), ("a.env", "mine")}


CHECK = """\
# METADATA
# title: A RUN
# custom:
#   id: MINE-1
#   severity: HIGH
#   input:
#     selector:
#     - type: dockerfile
package user.mine
import rego.v1
deny contains res if {
  some command in input.Stages[_].Commands
  command.Cmd == "run"
  res := result.new("there is a RUN", command)
}
"""
RULE = """\
rules:
  - id: mine
    category: general
    title: Mine
    severity: HIGH
    regex: mine=(?P<secret>[a-z0-9]{16})
    secret-group-name: secret
"""
