"""What becomes of a SARIF result: if it is a finding, how severe, by which rule, in what words."""

import pytest


def test_only_results_that_are_problems_are_findings(findings, a_result):
    kinds = ["fail", "open", "review", "pass", "notApplicable", "informational", "somethingNew"]
    found = findings(*(a_result(kind=kind, line=line) for line, kind in enumerate(kinds, 1)))

    assert [each.location.start_line for each in found] == [1, 2, 3, 7]
    assert [each.properties.get("sarif") for each in found][:2] == [None, {"kind": "open"}]


def test_a_result_that_is_gone_is_no_finding(findings, a_result):
    states = ["new", "unchanged", "updated", "absent"]
    found = findings(*(a_result(baselineState=state) for state in states))

    assert [each.properties["sarif"]["baselineState"] for each in found] == states[:3]


LEVEL = {"id": "R1", "defaultConfiguration": {"level": "note"}}
SCORE = {"id": "R1", "properties": {"security-severity": "9.1"}}


@pytest.mark.parametrize(
    ("rule", "more", "severity"),
    [
        ({"id": "R1"}, {}, "medium"),
        ({"id": "R1"}, {"level": "error"}, "high"),
        (LEVEL, {}, "low"),
        (LEVEL, {"level": "none"}, "info"),
        (LEVEL, {"level": "catastrophe"}, "low"),
        (LEVEL, {"kind": "open"}, "info"),
        (LEVEL, {"kind": "open", "level": "error"}, "high"),
        (SCORE, {"level": "note"}, "critical"),
        (SCORE, {"properties": {"security-severity": 5}}, "medium"),
        ({"id": "R1", "properties": {"security-severity": "much"}}, {"level": "error"}, "high"),
    ],
)
def test_severity_is_the_score_else_the_level_else_the_rules(
    findings, a_result, rule, more, severity
):
    (found,) = findings(a_result(**more), rules=[rule])

    assert found.severity == severity


def override(level, **descriptor):
    return {"descriptor": descriptor, "configuration": {"level": level}}


def test_an_invocation_may_give_a_rule_another_level(findings, a_result):
    invocations = [
        {"ruleConfigurationOverrides": [override("error", id="R1"), override("note", index=1)]},
        {"ruleConfigurationOverrides": [override("none", id="R1"), override("error", id="gone")]},
    ]
    found = findings(
        a_result("R1/variant"),
        a_result("R1", provenance={"invocationIndex": 0}),
        a_result("R1", level="warning"),
        a_result("R2"),
        a_result("gone/x"),
        rules=[LEVEL, {"id": "R2"}],
        invocations=invocations,
    )

    assert [each.severity for each in found] == ["info", "high", "medium", "low", "high"]


def test_a_rule_is_found_by_id_place_guid_and_in_extensions(findings, a_result):
    def by(**reference):
        return a_result(None) | {"rule": reference}

    tool = {
        "driver": {"name": "lint", "rules": [{"id": "D0", "name": "first"}]},
        "extensions": [
            {"name": "a", "rules": [{"id": "A0"}, {"id": "A1", "name": "a one", "guid": "G-1"}]},
            {"name": "b", "guid": "B", "rules": [{"id": "D0", "name": "of b"}]},
        ],
    }
    found = findings(
        a_result("D0/deep/er"),
        a_result(None, ruleIndex=0),
        by(index=1, toolComponent={"index": 0}),
        by(id="D0", toolComponent={"name": "b"}),
        by(id="D0", toolComponent={"guid": "b"}),
        by(guid="g-1"),
        a_result("A1"),
        a_result("unknown", ruleIndex=0),
        a_result("unknown", ruleIndex=99),
        a_result("D0", ruleIndex=-1),
        a_result(None, ruleIndex=True),
        tool=tool,
    )

    assert [(each.rule_id, each.rule_name) for each in found] == [
        ("D0/deep/er", "first"),
        ("D0", "first"),
        ("A1", "a one"),
        ("D0", "of b"),
        ("D0", "of b"),
        ("A1", "a one"),
        ("A1", "a one"),
        ("unknown", "first"),
        ("unknown", None),
        ("D0", "first"),
        (None, None),
    ]


def test_rules_and_the_tool_may_come_after_the_results(events, a_result, sarif):
    document = sarif(a_result(), rules=[SCORE], tool="late")
    run = document["runs"][0]
    document["runs"][0] = {"results": run["results"], "tool": run["tool"]}
    tool, finding = events({"runs": document["runs"], "version": "2.1.0"})

    assert (tool.name, finding.severity) == ("late", "critical")


def test_a_rule_gives_title_description_page_tags_and_confidence(findings, a_result):
    rule = {
        "id": "R1",
        "name": "NoEval",
        "shortDescription": {"text": "Eval is\nevil"},
        "fullDescription": {"text": "Long."},
        "helpUri": "https://lint.example/R1",
        "properties": {"precision": "high", "tags": ["security", "CWE-95: Eval"]},
    }
    (found,) = findings(
        a_result(properties={"tags": ["web", "security"], "depth": 3}, hostedViewerUri="https://v"),
        rules=[rule],
    )

    assert (found.title, found.description, found.confidence) == ("Eval is evil", "Long.", 80)
    assert found.references == ["https://lint.example/R1", "https://v"]
    assert found.tags == ["security", "CWE-95: Eval", "web"]
    assert found.vulnerability.cwe_ids == ["CWE-95"]
    assert found.properties == {"depth": 3}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"text": "plain {0} {{kept}}"}, "plain {0} {{kept}}"),
        ({"text": "of {0}", "arguments": ["x"]}, "of x"),
        ({"id": "two", "arguments": ["a", "b"]}, "b then a {literal} {7} {2}"),
        ({"id": "everyone"}, "for all"),
        ({"markdown": "**only**"}, "**only**"),
        ({"id": "two", "arguments": [5]}, "{1} then 5 {literal} {7} {2}"),
        ({"text": "nul \x00 and \x1b[31m"}, "nul \ufffd and \ufffd[31m"),
    ],
)
def test_a_message_is_resolved(findings, a_result, message, text):
    rule = {"id": "R1", "messageStrings": {"two": {"text": "{1} then {0} {{literal}} {7} {2}"}}}
    tool = {
        "name": "lint",
        "rules": [rule],
        "globalMessageStrings": {"everyone": {"text": "for all"}},
    }
    (found,) = findings(a_result(message=message), tool={"driver": tool})

    assert found.message == text


@pytest.mark.parametrize("message", [None, {}, {"id": "unknown"}, "text", {"text": 5}])
def test_a_result_without_words_is_still_a_finding(findings, a_result, message):
    (found,) = findings(a_result(message=message))

    assert (found.title, found.message) == ("R1", "R1")


def test_arguments_cannot_make_a_message_without_end(findings, a_result):
    message = {"text": "{0}" * 30_000, "arguments": ["x" * 90_000]}
    (found,) = findings(a_result(message=message))

    assert len(found.message) == 100_000


@pytest.mark.parametrize(
    ("suppressions", "suppressed"),
    [
        (None, False),
        ([], False),
        ([{"kind": "inSource"}], True),
        ([{"kind": "external", "status": "accepted", "justification": "known"}], True),
        ([{"kind": "external", "status": "underReview"}], False),
        ([{"kind": "inSource"}, {"kind": "external", "status": "rejected"}], False),
        (["yes"], False),
    ],
)
def test_a_finding_is_suppressed_if_every_suppression_is_accepted(
    findings, a_result, suppressions, suppressed
):
    (found,) = findings(a_result(suppressions=suppressions))

    assert (found.suppression is not None) == suppressed
    if suppressed:
        assert found.suppression.kind == suppressions[0]["kind"]
        assert found.suppression.justification == suppressions[0].get("justification")


def test_cwe_numbers_come_from_taxonomies_tags_properties_and_words(findings, a_result):
    cwe = {"name": "CWE", "guid": "C"}
    target = {"id": "79", "toolComponent": {"index": 0}}
    rules = [
        {"id": "relationship", "relationships": [{"target": target}]},
        {"id": "tag", "properties": {"tags": ["external/cwe/cwe-0089", "cwe-89"]}},
        {"id": "CWE-22/path"},
        {"id": "list", "properties": {"cwe": ["CWE-1", "CWE-2"]}},
        {"id": "none", "properties": {"tags": ["CWEs are fun", "cwe-0"]}},
    ]
    found = findings(
        a_result("relationship"),
        a_result("tag"),
        a_result("CWE-22/path"),
        a_result("list"),
        a_result("none"),
        a_result(
            "x",
            taxa=[
                {"index": 1, "toolComponent": {"guid": "C"}},
                {"id": "CWE-5", "toolComponent": {"name": "CWE"}},
            ],
        ),
        a_result("x", properties={"cwe": "CWE-327: Broken", "owasp": "A9: Using Components"}),
        a_result("x", message={"text": "too long (CWE-119!/CWE-120)"}),
        rules=rules,
        taxonomies=[cwe | {"taxa": [{"id": "78"}, {"id": "94"}]}],
    )

    assert [each.vulnerability and each.vulnerability.cwe_ids for each in found] == [
        ["CWE-79"],
        ["CWE-89"],
        ["CWE-22"],
        ["CWE-1", "CWE-2"],
        None,
        ["CWE-94", "CWE-5"],
        ["CWE-327"],
        ["CWE-119", "CWE-120"],
    ]
    assert found[6].vulnerability.owasp_ids == ["A09"]


def test_a_cve_in_the_rules_id_is_named(findings, a_result):
    (found,) = findings(a_result("BDSA-2020-1001 (CVE-2020-11022)"))

    assert found.vulnerability.cve_id == "CVE-2020-11022"


@pytest.mark.parametrize(
    ("tool", "rule", "kind"),
    [
        ("checkov", {"id": "CKV_1"}, "misconfiguration"),
        ("Trivy", {"id": "DS-1", "properties": {"tags": ["misconfiguration"]}}, "misconfiguration"),
        ("Trivy", {"id": "MIT", "properties": {"tags": ["license"]}}, "compliance"),
        ("CodeQL", {"id": "js/xss"}, "vulnerability"),
    ],
)
def test_the_kind_of_finding_follows_tool_and_tags(findings, a_result, tool, rule, kind):
    (found,) = findings(a_result(rule["id"]), rules=[rule], tool=tool)

    assert found.type == kind
    assert (found.misconfiguration is not None) == (kind == "misconfiguration")


def test_a_tools_fingerprints_are_kept_where_they_are_some(findings, a_result):
    (found,) = findings(
        a_result(
            fingerprints={"id/v1": "aa", "id/v2": "", "h": {"value": "cc"}, "m": "requires login"},
            partialFingerprints={"line": "abc:1", "odd": 5},
        )
    )

    assert found.partial_fingerprints == {"line": "abc:1", "id/v1": "aa", "h": "cc"}
    assert found.fingerprint is None


def test_a_fix_is_told(findings, a_result):
    def change(code):
        return {"replacements": [{"insertedContent": {"text": code}}]}

    fix = {"description": {"text": "Do"}, "artifactChanges": [change("one"), change("two")]}
    (found,) = findings(a_result(fixes=[fix]))

    assert (found.remediation.recommendation, found.remediation.fix_code) == ("Do", "one\ntwo")


def test_a_fix_that_only_takes_away_says_where(findings, a_result):
    replacement = {"deletedRegion": {"startLine": 4}}
    change = {"artifactLocation": {"uri": "a.c"}, "replacements": [replacement]}
    (found,) = findings(a_result(fixes=[{"artifactChanges": [change]}]))

    assert found.remediation.recommendation == "Delete the text at line 4 of a.c."
    assert found.remediation.fix_code is None


def test_a_taxonomy_may_be_of_the_driver_or_of_an_extension(findings, a_result):
    tool = {
        "driver": {
            "name": "lint",
            "taxa": [{"id": "CWE-22"}],
            "rules": [{"id": "R1", "relationships": [{"target": {"index": 0}}]}],
        },
        "extensions": [{"name": "CWE", "guid": "E", "taxa": [{"id": "78"}]}],
    }
    reference = {"index": 0, "toolComponent": {"guid": "e"}}
    found = findings(a_result(), a_result("other", taxa=[reference]), tool=tool)

    assert [each.vulnerability.cwe_ids for each in found] == [["CWE-22"], ["CWE-78"]]


def test_a_rule_named_by_a_reference_in_each_result_is_that_rule(findings, a_result):
    tool = {
        "driver": {"name": "lint"},
        "extensions": [{"name": "a", "rules": [{"id": "R1", "name": "one"}, {"id": "R2"}]}],
    }
    references = [{"index": 0}, {"index": 1}, {"index": True}, {"index": 0}, {"id": "R2"}]
    found = findings(
        *(
            a_result(None) | {"rule": reference | {"toolComponent": {"index": 0}}}
            for reference in references
        ),
        tool=tool,
    )

    assert [each.rule_id for each in found] == ["R1", "R2", None, "R1", "R2"]
