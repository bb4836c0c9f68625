"""GitHub's own examples, and whole exchanges with it, replayed by a real server."""

import json
from pathlib import Path

import pytest

from rediver_agent.contract import Finding, FindingStatus
from rediver_agent.interfaces import Notice
from rediver_github.alerts import AlertUnreadable, Repository, finding, repository

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
SHOP = Repository("acme/shop")
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no fixtures in {FIXTURES}")


def files(pattern):
    found = sorted(FIXTURES.glob(pattern))
    return [pytest.param(path, id=path.stem) for path in found]


def exchange(hub, steps):
    """Each step in its order, with what must have been asked for it."""
    left = list(steps)

    def answer(asked):
        step = left.pop(0)
        wanted, given = step["request"], step["response"]
        assert asked.path == wanted["path"]
        for name, value in wanted.get("query", {}).items():
            assert name == "per_page" or asked.query[name] == value
        for name, value in wanted.get("headers", {}).items():
            assert asked.headers[name.lower()] == value
        hub.asked.append(asked)
        body = given.get("body")
        raw = body["raw_text"].encode() if isinstance(body, dict) and "raw_text" in body else body
        return given["status"], given["headers"], raw

    hub.answer = answer
    return left


@pytest.mark.parametrize("path", files("github/http-*.json"))
def test_an_exchange_comes_to_what_is_expected(path, hub, github):
    document = json.loads(path.read_text())
    expected, steps = document["expected"], document["steps"]
    kinds = list(dict.fromkeys(step["request"]["path"].split("/")[4] for step in steps))
    left = exchange(hub, steps)

    wanted = {"alert_types": kinds, "states": ["open", "dismissed", "fixed"]}
    events, _ = github.whatever(**wanted)
    found = [event for event in events if isinstance(event, Finding)]
    again = github(**wanted) if left else events

    assert not left
    numbers = [int(each.partial_fingerprints["rediver/alert"].rpartition("/")[2]) for each in found]
    off = [event.message for event in events if isinstance(event, Notice)]
    facts = {
        "alerts": len(found), "alerts_first": len(found), "numbers": numbers,
        "open": sum(each.status is FindingStatus.OPEN for each in found),
        "requests": len(hub.asked), "retry": bool(github.slept),
        "alerts_second_unchanged": again == events,
        "kinds_off": [kind for kind in kinds if any(kind in said for said in off)],
    }  # fmt: skip
    assert sum(github.slept) >= expected.get("wait_seconds_at_least", 0)
    for name, value in expected.items():
        if name in facts:
            assert facts[name] == value, name


@pytest.mark.parametrize("path", files("github/rest-*alert*.json") + files("malformed/github-*"))
def test_an_example_has_its_facts(path):
    listed = json.loads((FIXTURES / "manifest.json").read_text())["files"]
    entry = next(each for each in listed if each["file"] == f"{path.parent.name}/{path.name}")
    expected, document = entry["expected"], json.loads(path.read_text())
    alerts = document if isinstance(document, list) else [document]
    kind = expected.get("shape", "of dependabot").rpartition("of ")[2]
    if "instances" in path.name or entry.get("outcome") == "reject":
        with pytest.raises(AlertUnreadable, match="no number"):
            finding("dependabot", alerts[0], SHOP)
        return

    found = [finding(kind, alert, SHOP) for alert in alerts]

    first = expected.get("first", {})
    assert len(found) == expected["alerts"]
    facts = {
        "rule": found[0].rule_id, "ghsa": found[0].rule_id, "secret_type": found[0].rule_id,
        "tool": found[0].properties.get("tool"), "state": found[0].properties["state"],
        "path": found[0].location and found[0].location.path,
        "manifest": found[0].location and found[0].location.path,
        "line": found[0].location and found[0].location.start_line,
        "cve": found[0].vulnerability and found[0].vulnerability.cve_id,
        "package": found[0].vulnerability and found[0].vulnerability.package,
        "ecosystem": found[0].vulnerability and found[0].vulnerability.ecosystem,
    }  # fmt: skip
    assert {name: facts[name] for name in first if name in facts} == {
        name: value for name, value in first.items() if name in facts
    }
    for alert, each in zip(alerts, found, strict=True):
        assert "secret" not in alert or alert["secret"] not in each.model_dump_json()


@pytest.mark.parametrize("path", files("webhook/*[gt]_alert.*.json"))
def test_a_webhooks_alert_is_read_alike(path):
    document = json.loads(path.read_text())
    kind = path.name.removeprefix("own-").partition("_alert")[0]

    found = finding(kind, document["alert"], repository(document["repository"]))

    named = document["repository"]["full_name"].lower()
    alert = f"github.com/{named}#{kind.replace('_', '-')}/{document['alert']['number']}"
    assert found.partial_fingerprints == {"rediver/alert": alert}
    assert found.status is not None


@pytest.mark.parametrize("path", files("github/dd-graphql-*.json"))
def test_an_export_of_graphql_is_refused_by_name(path):
    with pytest.raises(AlertUnreadable, match="GraphQL"):
        finding("dependabot", json.loads(path.read_text()), SHOP)
