"""CONTRACT section 4: a status is set by people, else by the source, else by what scans see."""

from typing import Any

import pytest
from rediver_server_fixtures import (
    Clock,
    Scans,
    Tenant,
    statuses,
)


@pytest.fixture
def scans(tenant: Tenant, clock: Clock) -> Scans:
    return Scans(tenant.agent(), clock)


@pytest.mark.parametrize("status", ["false_positive", "accepted_risk", "resolved"])
def test_what_people_have_set_stays(tenant: Tenant, scans: Scans, status: str):
    scans.send("f1")
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    path = f"/findings/{row['id']}"
    person = tenant.member("operator")
    patched = person.ok("PATCH", path, {"status": status, "reason": "we looked"})
    assert (patched["status"], patched["status_reason"]) == (status, "we looked")
    assert patched["status_by"] == f"key:{person.id}"
    scans.send("f1")
    scans.send()
    scans.send("f1")
    told = scans.body("f1")
    told["findings"][0]["status"] = "open"
    scans.counts(told)
    assert tenant.admin.ok("GET", path)["status"] == status


def test_a_finding_has_the_status_that_its_own_source_names(tenant: Tenant, scans: Scans):
    def say(status: str | None, **metadata: Any) -> tuple[str, str | None]:
        body = scans.body("f1", coverage_type="partial", **metadata)
        body["findings"][0]["status"] = status
        scans.counts(body)
        (row,) = tenant.admin.ok("GET", "/findings")["findings"]
        return row["status"], row["status_reason"]

    told = "its source says so"
    assert say("accepted_risk") == ("accepted_risk", told), "a new one too"
    assert say("resolved") == ("resolved", told)
    assert say("open", timestamp="2026-01-01T00:00:00Z") == ("resolved", told), "old news"
    assert say(None) == ("resolved", told), "who says nothing changes nothing"
    assert say("open") == ("open", told)
    assert say("false_positive") == ("false_positive", told)
    scans.send("f1")
    assert statuses(tenant) == {"f1": "false_positive"}, "that a scan sees it is no news"


def test_a_late_report_reopens_nothing_even_where_its_source_said_open(
    tenant: Tenant, scans: Scans
):
    def told(*fingerprints: str) -> dict[str, Any]:
        body = scans.body(*fingerprints)
        for each in body["findings"]:
            each["status"] = "open"
        return body

    scans.counts(told("f1"))
    late, whole = told("f1"), told()
    assert scans.counts(whole) == (0, 0, 1, 0)
    assert scans.counts(late) == (0, 1, 0, 0)
    assert statuses(tenant) == {"f1": "resolved"}
    scans.counts(told("f1"))
    assert statuses(tenant) == {"f1": "open"}


def test_a_finding_that_people_reopen_is_an_ordinary_one_again(tenant: Tenant, scans: Scans):
    scans.send("f1")
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    path = f"/findings/{row['id']}"
    tenant.admin.ok("PATCH", path, {"status": "accepted_risk", "reason": "r"})
    tenant.admin.ok("PATCH", path, {"status": "open"})
    assert scans.send() == (0, 0, 1, 0)


def test_excusing_a_finding_needs_a_reason(tenant: Tenant, scans: Scans):
    scans.send("f1")
    (row,) = tenant.admin.ok("GET", "/findings")["findings"]
    for body in ({"status": "false_positive"}, {"status": "gone"}, {"severity": "low"}, {}):
        answer = tenant.admin.refused("PATCH", f"/findings/{row['id']}", body)
        assert answer == (400, "INVALID_REQUEST")
