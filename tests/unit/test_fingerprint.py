"""A finding keeps its identity while lines move, and two findings never share one in a report."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rediver_agent.contract import Finding
from rediver_agent.fingerprint import Fingerprinter

VECTORS = json.loads(
    (Path(__file__).parents[2] / "docs/reference/vectors/fingerprint.json").read_text("utf-8")
)
SECRET = "AKIAIOSFODNN7EXAMPLE"


def finding(rule="r", path="a.py", line=1, snippet="eval(x)", **fields):
    location = {"path": path, "start_line": line, "snippet": snippet}
    return Finding.model_validate(
        {
            "type": "vulnerability",
            "title": "t",
            "severity": "low",
            "rule_id": rule,
            "location": location,
            **fields,
        }
    )


def fingerprints(findings):
    one_report = Fingerprinter()
    return [one_report.fingerprint(each) for each in findings]


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda vector: vector["case"])
def test_the_published_vectors_hold(vector):
    findings = [Finding.model_validate(fields) for fields in vector["findings"]]

    assert fingerprints(findings) == vector["fingerprints"]


def test_fingerprints_name_their_version_and_have_128_bits():
    version, _, digits = fingerprints([finding()])[0].partition(":")

    assert version == VECTORS["version"]
    assert len(bytes.fromhex(digits)) == 16


snippets = st.text(st.characters(codec="utf-8"), max_size=20)
places = st.tuples(st.sampled_from("rst"), st.sampled_from(["a.py", "b.py"]), snippets)
reports = st.lists(places, max_size=12)


@settings(deadline=None)  # the machine may be busy
@given(reports, st.integers(1, 10_000))
def test_lines_inserted_above_change_nothing(report, inserted):
    before = [finding(*place[:2], line, place[2]) for line, place in enumerate(report, 1)]
    after = [finding(*place[:2], line, place[2]) for line, place in enumerate(report, 1 + inserted)]

    assert fingerprints(before) == fingerprints(after)


@settings(deadline=None)  # the machine may be busy
@given(reports)
def test_no_two_findings_of_a_report_share_a_fingerprint(report):
    found = fingerprints([finding(rule, path, 1, text) for rule, path, text in report])

    assert len(set(found)) == len(found)


@settings(deadline=None)  # the machine may be busy
@given(reports, st.randoms(use_true_random=False))
def test_the_order_of_other_rules_findings_does_not_matter(report, random):
    def by_place(order):
        given_out = zip(
            order, fingerprints([finding(*place[:2], 1, place[2]) for place in order]), strict=True
        )
        found = {}
        for (rule, path, text), fingerprint in given_out:
            same = rule, path, " ".join(text.split())  # white space is not identity
            found.setdefault(same, []).append(fingerprint)
        return found

    shuffled = random.sample(report, len(report))

    assert by_place(report) == by_place(shuffled)


@settings(deadline=None)  # the machine may be busy
@given(st.text(" \t\r\n", max_size=5), st.text(" \t\r\n", min_size=1, max_size=5))
def test_white_space_is_not_identity(around, between):
    neat, loose = (
        finding(snippet="if x: eval(y)"),
        finding(snippet=f"{around}if{between}x: eval(y)"),
    )

    assert fingerprints([neat]) == fingerprints([loose])


def test_a_secret_enters_no_fingerprint():
    def secret(value):
        return finding(
            snippet=f"key = {value}", type="secret", message=f"found {value}", title=value
        )

    assert fingerprints([secret(SECRET)]) == fingerprints([secret("something else")])


def test_a_tools_own_fingerprint_is_not_believed():
    without = finding()
    with_one = finding(fingerprint="requires login", partial_fingerprints={"matchBasedId/v1": ""})

    assert fingerprints([without]) == fingerprints([with_one])


def test_equals_in_another_asset_do_not_move_the_count():
    alone = fingerprints([finding(asset_ref="b")])
    beside = fingerprints([finding(asset_ref="a"), finding(asset_ref="a"), finding(asset_ref="b")])

    assert beside[2] == alone[0]
