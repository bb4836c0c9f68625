"""Packages, CVSS and where to read on: SARIF has no place for them, and tools have many."""

import pytest


def facts(finding):
    about = finding.vulnerability
    return about and about.model_dump(
        exclude_defaults=True, exclude={"cwe_ids", "owasp_ids", "cvss_source"}
    )


def test_trivys_lines_name_the_package_of_each_result(findings, a_result):
    def of(package, version, fixed):
        text = (
            f"Package: {package}\nInstalled Version: {version}\nVulnerability CVE-2019-1549\n"
            f"Severity: MEDIUM\nFixed Version: {fixed}\nLink: [CVE-2019-1549](https://avd.example/x)"
        )
        return a_result("CVE-2019-1549", message={"text": text})

    help_text = "Vulnerability CVE-2019-1549\nPackage: libssl1.1\nFixed Version: 9\nLink: [x](y)"
    rule = {"id": "CVE-2019-1549", "help": {"text": help_text}}
    found = findings(
        of("libcrypto1.1", "1.1.1c-r0", "1.1.1d-r0"),
        of("lodash", "4.17.0", "4.17.21, 5.0.0-rc.1"),
        of("never", "1", ""),
        rules=[rule],
        tool="Trivy",
    )

    assert [facts(each) for each in found] == [
        {
            "cve_id": "CVE-2019-1549",
            "package": package,
            "affected_version": version,
            **({"fixed_versions": fixed} if fixed else {}),
        }
        for package, version, fixed in [
            ("libcrypto1.1", "1.1.1c-r0", ["1.1.1d-r0"]),
            ("lodash", "4.17.0", ["4.17.21", "5.0.0-rc.1"]),
            ("never", "1", []),
        ]
    ]
    assert found[0].references == ["https://avd.example/x"]


def test_grypes_sentence_and_its_rule_name_the_package(findings, a_result):
    text = (
        "A high vulnerability in npm package: lodash, version 4.17.20 was found at: /package.json"
    )
    rule = {
        "id": "GHSA-35jh-lodash",
        "help": {"text": "Severity: High\nPackage: lodash\nVersion: 4.17.20\nFix Version: 4.17.21"},
        "properties": {"purls": ["pkg:npm/lodash@4.17.20"], "security-severity": "7.2"},
    }
    (found,) = findings(a_result("GHSA-35jh-lodash", message={"text": text}), rules=[rule])

    assert facts(found) == {
        "cvss_score": 7.2,
        "package": "lodash",
        "affected_version": "4.17.20",
        "purl": "pkg:npm/lodash@4.17.20",
        "ecosystem": "npm",
        "fixed_versions": ["4.17.21"],
    }


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (
            {"component": "lib", "componentVersion": "1.2.5", "componentOrigin": "maven"},
            {"package": "lib", "affected_version": "1.2.5", "ecosystem": "maven"},
        ),
        (
            {
                "package": {"name": "lib", "version": "1", "ecosystem": "PyPI"},
                "cve": "cve-2020-1234",
            },
            {
                "cve_id": "CVE-2020-1234",
                "package": "lib",
                "affected_version": "1",
                "ecosystem": "PyPI",
            },
        ),
        (
            {"purl": "pkg:npm/%40scope/name@1.2?arch=x#y", "fixedVersions": ["1.3", "2.0"]},
            {
                "package": "@scope/name",
                "affected_version": "1.2",
                "purl": "pkg:npm/%40scope/name@1.2?arch=x#y",
                "ecosystem": "npm",
                "fixed_versions": ["1.3", "2.0"],
            },
        ),
        ({"package": "com.example.web"}, None),  # of Java: no dependency
        ({"component": "checkout", "version": None}, None),
        ({"package": {}, "purl": 5, "fixedVersions": {}}, None),
        (
            {"cvssv3_baseScore": "6.1", "cvssv2_score": "4.3", "cvssv3_vector": "CVSS:3.1/AV:N"},
            {"cvss_score": 6.1, "cvss_vector": "CVSS:3.1/AV:N"},
        ),
        ({"cvssv3_baseScore": "much", "cvssv2_score": 4.3}, {"cvss_score": 4.3}),
    ],
)
@pytest.mark.parametrize("of", ["result", "rule"])
def test_property_bags_name_packages_and_scores(findings, a_result, of, properties, expected):
    rule = {"id": "R1", "properties": properties if of == "rule" else {}}
    (found,) = findings(
        a_result(properties=properties if of == "result" else {}), rules=[rule], tool="lint"
    )

    assert facts(found) == expected


def test_a_package_address_may_be_a_logical_location(findings, a_result):
    where = [{"logicalLocations": [{"fullyQualifiedName": "pkg:maven/org.a/b@3.2.1"}]}]
    (found,) = findings(a_result(locations=where))

    assert (found.vulnerability.package, found.vulnerability.affected_version) == (
        "org.a/b",
        "3.2.1",
    )
    assert found.vulnerability.ecosystem == "maven"


def test_the_score_that_severity_goes_by_is_told_with_its_source(findings, a_result):
    rule = {"id": "R1", "properties": {"security-severity": "9.1"}}
    plain, own, odd = findings(
        a_result(),
        a_result(properties={"security-severity": "5.0"}),
        a_result(properties={"security-severity": "much"}),
        rules=[rule],
    )

    scores = [each.vulnerability.cvss_score for each in (plain, own, odd)]
    assert scores == [9.1, 5.0, 9.1]
    assert plain.vulnerability.cvss_source == "security-severity"
    assert [each.severity for each in (plain, own, odd)] == ["critical", "medium", "critical"]


def test_a_configuration_has_no_package_and_no_score(findings, a_result):
    rule = {
        "id": "DS-1",
        "properties": {
            "tags": ["misconfiguration"],
            "security-severity": "8.0",
            "purl": "pkg:a/b@1",
        },
    }
    (found,) = findings(a_result("DS-1"), rules=[rule])

    assert (found.type, found.severity) == ("misconfiguration", "high")
    assert found.vulnerability is None


def test_references_are_the_rules_page_its_helps_links_and_those_of_the_message(findings, a_result):
    rule = {
        "id": "R1",
        "helpUri": "https://lint.example/R1",
        "help": {
            "text": "not this: https://plain.example/",
            "markdown": "See [OWASP](https://owasp.example/A1), <https://lint.example/R1>.",
        },
    }
    message = {"text": "Read [this](https://more.example/x) at [its place](1)."}
    (found,) = findings(a_result(message=message), rules=[rule])

    assert found.references == [
        "https://lint.example/R1",
        "https://owasp.example/A1",
        "https://more.example/x",
    ]
    assert found.message == message["text"]
    assert found.title == "Read this at its place."
