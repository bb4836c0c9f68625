"""Reports as an enemy would write them: what is readable is kept, the rest is told and counted."""

import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rediver_agent import Notice, ReportUnreadable
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_trivy._findings import finding
from rediver_trivy._parse import TrivyParser
from rediver_trivy._place import Place
from rediver_trivy._values import Unreadable
from rediver_trivy._vulnerability import Advisory

SECRET = "hunter2" * 3
GOOD = {"VulnerabilityID": "CVE-2024-1", "PkgName": "left-pad", "Severity": "HIGH"}
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "FAIL", "HIGH", "CVE-2024-1", "x" * 5000, "\x00", "😀", "****"])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def entry_of(*names: str) -> st.SearchStrategy[Any]:
    """An object with some of these keys, or anything else."""
    return st.dictionaries(st.sampled_from(names), odd, max_size=len(names)) | odd


line = {"StartLine": 1, "EndLine": 2, "Content": "x", "IsCause": True}
cause = entry_of("Resource", "StartLine", "EndLine", "Code", "Occurrences", "Provider") | st.just(
    {**line, "Code": {"Lines": [line, 7, None]}, "Occurrences": [{"Location": line}, []]}
)
entries = st.one_of(
    entry_of(
        *("VulnerabilityID", "PkgName", "PkgPath", "Severity", "Title", "CVSS", "CweIDs"),
        *("FixedVersion", "References", "VendorIDs", "PkgIdentifier", "Status", "Layer"),
    ),
    entry_of("ID", "Status", "Severity", "Title", "CauseMetadata", "References"),
    entry_of("RuleID", "Severity", "Match", "StartLine", "Category", "Title"),
    entry_of("Name", "Severity", "PkgName", "FilePath", "Confidence", "Link"),
    st.builds(lambda raw, about: {**GOOD, "CVSS": raw, "CauseMetadata": about}, odd, cause),
    st.builds(
        lambda kind, raw: {"Type": kind, "Finding": raw, "Status": "ignored"},
        st.sampled_from(["vulnerability", "misconfiguration", "secret", "license", "x"]) | odd,
        odd | st.just(GOOD),
    ),
)
kinds = st.sampled_from(
    [
        *("Vulnerabilities", "Misconfigurations", "Secrets", "Licenses"),
        *("ExperimentalModifiedFindings", "Target", "Class", "Type", "Packages"),
    ]
)
results = st.dictionaries(kinds, st.lists(entries, max_size=3) | odd, max_size=5) | odd
words = st.sampled_from(
    ["", "x", "y" * 1001, "z" * 600, "é", "UNKNOWN", "1.0, 2.0", "nvd", 5, None]
)
lists = st.lists(st.sampled_from(["CVE-1", "a", "b"]), max_size=3) | st.sampled_from(
    [None, ["a"] * 201, [5, "a"], "x"]
)
scores = st.dictionaries(
    st.sampled_from(["nvd", "ghsa", "zzz", "redhat"]),
    st.fixed_dictionaries(
        {},
        optional={
            "V3Score": st.sampled_from([7.5, 0, "7", None, 11, True, 9]),
            "V3Vector": words,
            "V40Score": st.just(3.1),
            "V2Score": st.just(1),
        },
    ),
)
long = words | st.just("t" * 21_000)
advisories = st.fixed_dictionaries(
    {"VulnerabilityID": st.sampled_from(["CVE-2024-1", "GHSA-x", ""]), "PkgName": st.just("p")},
    optional={
        **dict.fromkeys(("Severity", "InstalledVersion", "FixedVersion", "PrimaryURL"), words),
        **dict.fromkeys(("SeveritySource", "PublishedDate", "LastModifiedDate", "PkgPath"), words),
        **dict.fromkeys(("VendorIDs", "CweIDs", "References"), lists),
        **dict.fromkeys(("Title", "Description"), long),
        "Status": st.sampled_from(["affected", "not_affected"]),
        "Fingerprint": words,
        "CVSS": scores | odd,
        "DataSource": st.fixed_dictionaries({"ID": words}, optional={"Name": words}) | odd,
        "PkgIdentifier": st.fixed_dictionaries({"PURL": words}) | odd,
        "Layer": st.fixed_dictionaries({"Digest": words}, optional={"DiffID": words}) | odd,
        "PkgID": odd,
    },
)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(st.lists(results, max_size=4), st.dictionaries(kinds, odd, max_size=2))
def test_whatever_stands_in_a_report_is_read_or_told(found, more):
    """And the good entry that comes last is found in any case."""
    last = {"Target": "lock", "Class": "lang-pkgs", "Vulnerabilities": [GOOD]}
    header = {"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem"}
    report = json.dumps({**more, **header, "Results": [*found, last]}).encode()

    events = parse(TrivyParser(), report)

    kept = [event for event in events if isinstance(event, Finding)]
    assert kept[-1].properties["target"] == "lock"
    told = [event for event in events if isinstance(event, Notice)]
    assert len(told) <= 6
    for each in kept:
        Finding.model_validate_json(each.model_dump_json())


def both_ways_are_the_same(entry):
    place = Place(target="lock", kind="lang-pkgs", type="npm")
    result = {"Target": "lock", "Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": [entry]}
    report = {"SchemaVersion": 2, "ArtifactName": ".", "Results": [result]}

    (event,) = parse(TrivyParser(), json.dumps(report).encode())

    try:
        thorough = finding("Vulnerabilities", entry, place)
    except Unreadable as reason:
        assert isinstance(event, Notice)
        assert str(reason) in event.message  # noqa: PT017 - either is right, if both ways say it
    else:
        assert isinstance(event, Finding)
        assert thorough is not None
        assert event.model_dump_json() == thorough.model_dump_json()


@FEW
@given(advisories)
def test_an_advisory_is_the_same_finding_whichever_way_it_is_read(entry):
    both_ways_are_the_same(entry)


@pytest.mark.slow
@settings(FEW, max_examples=10_000)
@given(advisories)
def test_many_advisories_are_the_same_findings_whichever_way_they_are_read(entry):
    both_ways_are_the_same(entry)


def test_what_trivy_writes_is_read_the_quick_way():
    about = {
        **GOOD,
        "VendorIDs": ["GHSA-aaaa-bbbb-cccc"],
        "PkgID": "left-pad@1.0.0",
        "PkgIdentifier": {"PURL": "pkg:npm/left-pad@1.0.0", "UID": "1f"},
        "InstalledVersion": "1.0.0",
        "FixedVersion": "1.0.1, 2.0.0",
        "Status": "fixed",
        "Layer": {},
        "SeveritySource": "ghsa",
        "PrimaryURL": "https://avd.aquasec.com/nvd/cve-2024-1",
        "DataSource": {"ID": "ghsa", "Name": "GitHub", "URL": "https://github.com/advisories"},
        "Title": "left-pad: pads right",
        "Description": "Of `left-pad`.",
        "CweIDs": ["CWE-79"],
        "VendorSeverity": {"ghsa": 3},
        "CVSS": {"ghsa": {"V3Vector": "CVSS:3.1/AV:N", "V3Score": 7.5}},
        "References": ["https://github.com/advisories/GHSA-aaaa-bbbb-cccc"],
        "PublishedDate": "2024-01-01T00:00:00Z",
    }

    assert msgspec.json.decode(json.dumps(about), type=Advisory)


@FEW
@given(odd | st.lists(odd), st.sampled_from(["Results", "Resources", "ArtifactName", "Trivy"]))
def test_whatever_stands_at_the_top_is_read_or_refused(value, key):
    header = {"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem"}

    try:
        parse(TrivyParser(), json.dumps({**header, key: value}).encode())
    except ReportUnreadable as refused:
        assert str(refused)  # noqa: PT017 - either is right; another exception is not


@FEW
@given(st.data())
def test_nothing_of_a_secret_is_kept(data):
    """trivy masks what it knows; whatever else its line holds is not quoted."""
    before = data.draw(st.text(max_size=10).filter(lambda text: SECRET not in text))
    raw = {"RuleID": "r", "Match": f"{before}*****{SECRET}", "Code": {"Lines": [SECRET]}}
    more = data.draw(st.dictionaries(st.sampled_from(["Offset", "Layer", "Deleted"]), odd))
    result = {"Target": "a", "Class": "secret", "Secrets": [{**more, **raw}]}
    report = {"SchemaVersion": 2, "ArtifactName": ".", "Results": [result]}

    events = parse(TrivyParser(), json.dumps(report).encode())

    assert SECRET not in repr(events)


def test_findings_before_the_report_is_cut_off_are_kept():
    many = [{**GOOD, "VulnerabilityID": f"CVE-2024-{number}"} for number in range(5000)]
    result = {"Target": "lock", "Class": "lang-pkgs", "Vulnerabilities": many}
    report = {"SchemaVersion": 2, "ArtifactName": ".", "Results": [result]}
    whole = json.dumps(report).encode()
    events = TrivyParser().parse(io.BytesIO(whole[: len(whole) // 2]))
    kept: list[object] = []

    with pytest.raises(ReportUnreadable):
        kept.extend(events)

    assert len(kept) > 1000
