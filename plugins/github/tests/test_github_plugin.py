"""What is collected from which repositories, and who may say so."""

import json
import logging

import pytest
from pydantic import ValidationError

from rediver_agent import Asset, Notice, ToolError
from rediver_agent.contract import Finding, FindingStatus, Severity
from rediver_agent.testing import check_collector, provided
from rediver_github.alerts import Kind, Repository, finding, repository

TOKEN = "ghp_the_token_of_the_tests"
ALL = ["open", "dismissed", "fixed"]


def findings(events):
    return [event for event in events if isinstance(event, Finding)]


def said(events, level):
    return [e.message for e in events if isinstance(e, Notice) and e.level == level]


def assets(events):
    return [event.name for event in events if isinstance(event, Asset)]


def named(events):
    return [
        each.partial_fingerprints["rediver/alert"].partition("#")[2] for each in findings(events)
    ]


def test_it_is_found_by_its_entry_point():
    assert [collector.name for collector in provided("github", "collector")] == ["github"]


def test_the_standard_checks(hub, github, tmp_path, an_alert):
    secret = {"number": 2, "state": "open", "secret_type": "key", "secret": "hunter2hunter2"}
    hub.alerts(code_scanning=[an_alert(1)], secret_scanning=[secret])

    check_collector(github.github, tmp_path, secrets=[TOKEN, "hunter2hunter2"], **github.given)


def test_a_repository_is_the_asset_that_a_ci_job_scans():
    assert Repository("acme/shop").url == "https://github.com/acme/shop"


@pytest.mark.parametrize(
    ("base_url", "web"),
    [
        ("https://api.github.com/", "https://github.com"),
        ("https://ghe.example.com/api/v3", "https://ghe.example.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
    ],
)
def test_an_asset_is_where_people_see_it(github, base_url, web):
    options = github.github.options(**{**github.given, "base_url": base_url})

    assert options.web == web


def test_all_repositories_of_an_organisation_are_collected_once_and_in_order(hub, github, an_alert):
    def repo(name, **more):
        return {"full_name": f"acme/{name}", "archived": False, **more}

    following = {"Link": '<https://api.github.com/orgs/acme/repos?page=2>; rel="next"'}
    hub.says(
        "/orgs/acme/repos",
        (200, following, [repo("api"), repo("old", archived=True), repo("Shop")]),
        [repo("web"), repo("test-one")],
    )
    for name in ("acme/Shop", "acme/api", "acme/web"):
        hub.alerts(name, code_scanning=[an_alert(1, name)])

    events = github(organizations=["acme"], exclude_repositories=["ACME/test-*"])

    assert assets(events) == ["acme/Shop", "acme/api", "acme/web"]
    assert named(events) == ["code-scanning/1"] * 3
    percents = [percent for percent, _ in github.ctx.said if percent is not None]
    assert percents == pytest.approx([0, 100 / 3, 200 / 3])


def test_an_organisation_that_cannot_be_read_costs_no_other_repository(hub, github, an_alert):
    hub.alerts(code_scanning=[an_alert(1)])

    events, fault = github.whatever(organizations=["gone"])

    assert named(events) == ["code-scanning/1"]
    assert "the repositories of gone" in str(fault)


@pytest.mark.parametrize("chosen", ["ACME/shop", ["acme/shop", "Acme/Shop"]])
def test_a_command_chooses_among_what_the_operator_named(hub, github, chosen):
    hub.alerts()

    events = github(repositories=["acme/api", "acme/shop"], repository=chosen)

    assert assets(events) == ["acme/shop"], "as the operator writes it: it is the same asset"


@pytest.mark.parametrize(
    "options",
    [
        {"repository": "other/shop"},
        {"repository": "acme/api"},
        {"organizations": ["acme"], "repository": "acme/x", "exclude_repositories": ["acme/x"]},
        {"repositories": [], "repository": "acme/shop"},
        {"repositories": []},
        {"repositories": ["acme/shop/.."]},
        {"repositories": ["acme/.."]},
        {"token": ""},
        {"token": "two words"},
        {"base_url": "http://github.example.com"},
        {"base_url": "https://user:x@github.example.com"},
        {"base_url": "https://github.example.com/?x"},
        {"alert_types": []},
        {"alert_types": ["other"]},
        {"severity": "high"},
    ],
)
def test_what_may_not_be_asked_for_is_refused(github, options):
    with pytest.raises(ValidationError):
        github.github.options.model_validate({**github.given, **options})


def test_a_command_says_nothing_of_addresses_tokens_and_what_there_is(github):
    assert github.github.from_command == {"repository", "alert_types", "states", "since"}


def test_the_words_of_a_collect_command_are_understood(hub, github):
    hub.alerts()

    github(
        repository="acme/shop",
        since="2024-01-01T00:00:00Z",
        alert_types=["secret-scanning", "code_scanning", "dependabot"],
    )

    assert [asked.path.split("/")[4] for asked in hub.asked] == list(Kind)


def test_alerts_in_every_state_are_asked_for_unless_told_otherwise(hub, github, an_alert):
    hub.alerts(code_scanning=[an_alert(1), an_alert(2, state="fixed"), an_alert(3, state=None)])

    assert named(github()) == ["code-scanning/1", "code-scanning/2", "code-scanning/3"]
    assert not any("state" in asked.query for asked in hub.asked)
    assert named(github(states=["open"])) == ["code-scanning/1", "code-scanning/3"]
    assert hub.asked[-1].query["state"] == "open"
    assert named(github(states=["fixed"])) == ["code-scanning/2", "code-scanning/3"]
    assert "state" not in hub.asked[-1].query


def test_since_ends_at_the_first_older_page_and_resolves_nothing(hub, github, an_alert):
    path = "/repos/acme/shop/code-scanning/alerts"
    new, old = "2024-03-01T00:00:00Z", "2024-01-01T00:00:00Z"
    link = {"Link": f'<https://api.github.com{path}?page=2>; rel="next"'}
    hub.alerts()
    hub.says(path, (200, link, [an_alert(2, updated_at=new), an_alert(1, updated_at=old)]))

    events = github(since="2024-02-01T00:00:00Z")

    assert named(events) == ["code-scanning/2"]
    assert sum(asked.path == path for asked in hub.asked) == 1
    assert said(events, "warning") == ["only alerts that changed since 2024-02-01 00:00 UTC"]


def test_an_alert_that_moves_to_the_next_page_meanwhile_counts_once(hub, github, an_alert):
    path = "/repos/acme/shop/code-scanning/alerts"
    link = {"Link": f'<https://api.github.com{path}?page=2>; rel="next"'}
    hub.alerts()
    hub.says(path, (200, link, [an_alert(3), an_alert(2)]), [an_alert(2), an_alert(1)])

    assert named(github()) == ["code-scanning/3", "code-scanning/2", "code-scanning/1"]


def test_an_alert_that_cannot_be_understood_is_an_error_and_the_others_are_kept(
    hub, github, an_alert
):
    hub.alerts(code_scanning=[None, {"id": 1}, an_alert(1), an_alert(2, rule="\ud800", state=3)])

    events = github()

    assert named(events) == ["code-scanning/1", "code-scanning/2"]
    assert len(said(events, "error")) == 2


@pytest.mark.parametrize("name", ["html_url", "created_at", "dismissed_reason", "state"])
def test_half_a_surrogate_is_no_reason_to_lose_an_alert(hub, github, an_alert, name):
    hub.alerts(code_scanning=[an_alert(1, **{"state": "dismissed", name: "https://\ud800"})])

    (found,) = findings(github())

    assert "https://?" in found.model_dump_json() or name == "html_url"


def test_a_name_that_github_writes_differently_is_told(hub, github, an_alert):
    hub.alerts("ACME/shop", code_scanning=[an_alert(1)])

    (warning,) = said(github(repositories=["ACME/shop"]), "warning")

    assert "GitHub calls it acme/shop" in warning


@pytest.mark.parametrize(
    ("kind", "state", "reason", "status"),
    [
        (Kind.DEPENDABOT, "fixed", "inaccurate", "resolved"),
        (Kind.DEPENDABOT, "auto_dismissed", None, "accepted_risk"),
        (Kind.DEPENDABOT, "dismissed", "inaccurate", "false_positive"),
        (Kind.DEPENDABOT, "dismissed", "not_used", "accepted_risk"),
        (Kind.CODE_SCANNING, "dismissed", "won't fix", "accepted_risk"),
        (Kind.SECRET_SCANNING, "resolved", "revoked", "resolved"),
        (Kind.SECRET_SCANNING, "resolved", "used_in_tests", "accepted_risk"),
        (Kind.SECRET_SCANNING, "resolved", "pattern_deleted", "accepted_risk"),
        (Kind.SECRET_SCANNING, None, "wont_fix", "accepted_risk"),
        (Kind.SECRET_SCANNING, None, None, "open"),
    ],
)
def test_a_state_and_its_reason_are_a_status(kind, state, reason, status):
    name = "resolution" if kind is Kind.SECRET_SCANNING else "dismissed_reason"

    found = finding(kind, {"number": 1, "state": state, name: reason}, Repository("acme/shop"))

    assert found.status == status
    decided = {FindingStatus.ACCEPTED_RISK, FindingStatus.FALSE_POSITIVE}
    assert (found.suppression is not None) == (found.status in decided)


@pytest.mark.parametrize(
    ("kind", "alert", "severity"),
    [
        (Kind.CODE_SCANNING, {"rule": {"severity": "note"}}, "low"),
        (Kind.CODE_SCANNING, {"rule": {"severity": "none"}}, "info"),
        (Kind.CODE_SCANNING, {"rule": None}, "medium"),
        (
            Kind.CODE_SCANNING,
            {"rule": {"severity": "warning", "security_severity_level": "critical"}},
            "critical",
        ),
        (Kind.DEPENDABOT, {"security_vulnerability": {"severity": "moderate"}}, "medium"),
        (Kind.DEPENDABOT, {"security_advisory": {"cvss": {"score": 9.8}}}, "critical"),
        (Kind.SECRET_SCANNING, {"validity": "active"}, "critical"),
        (Kind.SECRET_SCANNING, {"validity": "inactive"}, "high"),
    ],
)
def test_the_alerts_own_word_is_the_severity(kind, alert, severity):
    found = finding(kind, {"number": 1, **alert}, Repository("acme/shop"))

    assert found.severity is Severity(severity)


@pytest.mark.parametrize(
    ("ecosystem", "name", "purl"),
    [
        ("npm", "@babel/core", "pkg:npm/%40babel/core"),
        ("maven", "org.apache.logging:log4j", "pkg:maven/org.apache.logging/log4j"),
        ("pip", "Ruamel_Yaml", "pkg:pypi/ruamel-yaml"),
        ("go", "github.com/gorilla/mux", "pkg:golang/github.com/gorilla/mux"),
        ("rust", "openssl", "pkg:cargo/openssl"),
        ("other", "thing", None),
    ],
)
def test_a_package_has_its_url(ecosystem, name, purl):
    used = {"package": {"ecosystem": ecosystem, "name": name}, "manifest_path": "/a/lock"}

    found = finding("dependabot", {"number": 1, "dependency": used}, Repository("acme/shop"))

    assert found.vulnerability.purl == purl
    assert found.location.path == "a/lock"


def test_a_secret_shows_nowhere_even_where_people_quote_it(hub, github, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "AKIA-not-a-real-one"
    alert = {
        "number": 1, "state": "resolved", "resolution": "wont_fix", "secret": secret,
        "secret_type": "aws", "resolution_comment": f"{secret} is old",
        "metadata": [{"key": "owner_email", "value": secret}],
    }  # fmt: skip
    etag = {"ETag": 'W/"1"'}
    hub.alerts()
    hub.says("/repos/acme/shop/secret-scanning/alerts", (200, etag, [alert]))

    (found,) = findings(github(states=ALL))

    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert found.suppression.justification == "wont_fix: *** is old"
    assert secret not in json.dumps(found.model_dump(mode="json"))
    assert written
    assert secret.encode() not in written
    assert TOKEN.encode() not in written
    assert TOKEN not in caplog.text
    assert hub.asked[-1].query["hide_secret"] == "true"


def test_a_webhooks_repository_is_the_same_asset():
    raw = {"full_name": "Acme/Shop", "html_url": "https://GHE.example.com/Acme/Shop"}

    assert repository(raw) == Repository("Acme/Shop", "https://ghe.example.com")
    with pytest.raises(ValueError, match="full_name"):
        repository({"full_name": "shop"})


def test_a_wrong_token_is_told_and_not_tried_again(hub, github):
    hub.alerts()
    hub.says("/repos/acme/shop/dependabot/alerts", (401, {}, {"message": "Bad credentials"}))

    with pytest.raises(ToolError, match="the token is wrong or has expired"):
        github()

    assert len(hub.asked) == 1
