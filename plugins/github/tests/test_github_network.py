"""What goes wrong on the way to GitHub, and what is never done about it."""

import gzip
import os
import stat

import pytest

from rediver_agent import Notice, ToolError
from rediver_agent.contract import Finding

PATH = "/repos/acme/shop/code-scanning/alerts"
HTML = (200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><title>Sign in</title>")
ONE = {"alert_types": ["code-scanning"]}


def findings(events):
    return [event for event in events if isinstance(event, Finding)]


def notices(events):
    return [(event.level, event.message) for event in events if isinstance(event, Notice)]


def named_last(events):
    """The number of the last alert."""
    return findings(events)[-1].partial_fingerprints["rediver/alert"].rpartition("/")[2]


def limited(**headers):
    return 403, {name.replace("_", "-"): value for name, value in headers.items()}, {"message": "x"}


def cut_off(handler):
    handler.send_response_only(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'[{"number": 1')
    handler.close_connection = True


@pytest.mark.parametrize("number", [301, 307])
def test_a_renamed_repository_is_followed_and_told(hub, github, an_alert, number):
    hub.says(PATH, (number, {"Location": "/repositories/7/code-scanning/alerts"}, {}))
    hub.says("/repositories/7/code-scanning/alerts", [an_alert(1, "acme/store")])

    events = github(**ONE)

    assert len(findings(events)) == 1
    ((level, message),) = notices(events)
    assert level == "warning"
    assert "acme/store" in message


@pytest.mark.parametrize("name", ["acme/kept-out", "umbrella/shop", None])
def test_an_old_name_opens_no_repository_that_may_not_be_collected(hub, github, an_alert, name):
    hub.says(PATH, (301, {"Location": "/repositories/7/code-scanning/alerts"}, {}))
    address = f"http://hub/{name}/security/1" if name else None
    hub.says("/repositories/7/code-scanning/alerts", [an_alert(1, html_url=address)])
    named = {"repositories": [], "organizations": ["acme"], "repository": "acme/shop"}

    events = github(exclude_repositories=["acme/kept-*"], **named, **ONE)

    assert not findings(events)
    ((level, message),) = notices(events)
    assert level == "error"
    assert "which is not among the repositories and organizations" in message


@pytest.mark.parametrize("how", ["link", "redirect"])
def test_the_token_goes_to_no_other_host(hub, elsewhere, github, an_alert, how):
    there = f"{elsewhere.url}{PATH}?page=2"
    link = (200, {"Link": f'<{there}>; rel="next"'}, [an_alert(1)])
    hub.says(PATH, link if how == "link" else (302, {"Location": there}, {}))

    _, fault = github.whatever(**ONE)

    assert "the token is not sent there" in str(fault)
    assert not elsewhere.asked


def test_pages_that_go_in_a_circle_are_an_error(hub, github, an_alert):
    hub.says(PATH, (200, {"Link": f'<{hub.url}{PATH}?x=1>; rel="next"'}, [an_alert(1)]))

    events = github(**ONE)

    assert len(findings(events)) == 1
    assert [level for level, _ in notices(events)] == ["error"]


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        (HTML, "error", "a page of HTML"),
        ((200, {}, b'[{"number": 1'), "error", "no JSON"),
        ((200, {}, b"[" * 100_000), "error", "no JSON"),
        (
            (200, {}, b'[{"secret": "hunter2hunter2", "x": ' + b"[" * 900 + b"]" * 900 + b"}]"),
            "error",
            "no JSON",
        ),
        ((200, {"Link": "</next?page=2>; REL=next"}, []), "error", "a next page"),
        ((200, {"Link": '</next?page=2>; rel="last next"'}, []), "error", "a next page"),
        ((200, {}, {"message": "hello"}), "error", "no list"),
        ((200, {}, {"data": {}}), "error", "GraphQL"),
        ((200, {}, None), "error", "no JSON"),
        ((304, {}, None), "error", "304"),
        ((410, {}, {"message": "Gone"}), "error", "Gone"),
        ((404, {}, {"message": "Not Found"}), "error", "`Code scanning alerts: read`"),
        ((404, {}, HTML[2]), "error", "`Code scanning alerts: read`"),
        (
            (403, {}, {"message": "Resource not accessible by personal access token"}),
            "error",
            "security_events",
        ),
        ((403, {}, {"message": "Resource protected by SAML"}), "error", "single sign-on"),
        ((403, {}, {"message": "Code scanning is not enabled for this"}), "warning", "off"),
        (
            (403, {}, {"message": "Advanced Security must be enabled for this repository"}),
            "warning",
            "off",
        ),
    ],
)  # fmt: skip
def test_what_is_no_list_of_alerts_is_never_taken_for_no_alerts(hub, github, answer, level, words):
    hub.alerts()
    hub.says(PATH, answer)

    events = github()

    ((given, message),) = notices(events)
    assert given == level
    assert words in message
    assert "code-scanning alerts" in message
    assert len(hub.asked) == 3
    assert not github.slept


def test_an_answer_without_an_end_is_not_taken_into_memory(hub, github):
    bomb = gzip.compress(b"[" + b" " * (65 << 20), compresslevel=1)
    hub.says(PATH, (200, {"Content-Encoding": "gzip"}, bomb))

    ((level, message),) = notices(github(**ONE))

    assert level == "error"
    assert "more than 64 MiB" in message


@pytest.mark.parametrize("bad", [(502, {}, b""), (500, {}, {}), cut_off])
def test_a_fault_that_passes_is_tried_again(hub, github, an_alert, bad):
    hub.says(PATH, bad, bad, [an_alert(1)])

    events = github(**ONE)

    assert len(findings(events)) == 1
    assert not notices(events)
    assert len(github.slept) == 2


def test_a_kind_that_keeps_failing_costs_no_other(hub, github, an_alert):
    hub.alerts(code_scanning=[an_alert(1)])
    hub.says("/repos/acme/shop/dependabot/alerts", (504, {}, b""))

    events = github()

    assert len(findings(events)) == 1
    assert notices(events) == [("error", "dependabot alerts: 127.0.0.1 answered 504, 4 times")]


def test_a_github_that_is_down_ends_the_collection(hub, github):
    hub.alerts()
    for kind in ("dependabot", "code-scanning", "secret-scanning"):
        hub.says(f"/repos/acme/shop/{kind}/alerts", (503, {}, b""))

    _, fault = github.whatever()

    assert "is down" in str(fault)
    assert fault.retryable


def test_nobody_there_is_a_fault_that_may_pass(hub, github):
    _, fault = github.whatever(base_url="http://127.0.0.1:1", **ONE)

    assert "could not be asked" in str(fault)
    assert fault.retryable


@pytest.mark.parametrize(
    ("answer", "least"),
    [
        (limited(Retry_After="7"), 7),
        (limited(x_ratelimit_remaining="0", x_ratelimit_reset="1705312830"), 30),
        (limited(Retry_After="Mon, 15 Jan 2024 10:00:20 GMT"), 20),
        ((429, {}, {}), 60),
        ((403, {}, {"message": "You have exceeded a secondary rate limit."}), 60),
        ((503, {"Retry-After": "5"}, b""), 5),
        (
            # Our clock is an hour slow: the reset counts from GitHub's own.
            limited(
                x_ratelimit_remaining="0", x_ratelimit_reset="1705316430",
                Date="Mon, 15 Jan 2024 11:00:00 GMT",
            ),
            30,
        ),
    ],
)  # fmt: skip
def test_a_limit_is_waited_for(hub, github, an_alert, answer, least):
    hub.says(PATH, answer, [an_alert(1)])

    events = github(**ONE)

    assert len(findings(events)) == 1
    assert least <= sum(github.slept) <= least + 1
    assert any("rate limit" in message for _, message in github.ctx.said)


def test_a_limit_that_lasts_too_long_ends_the_collection_and_keeps_what_was_done(
    hub, github, an_alert
):
    hub.says(PATH, [an_alert(1)])
    hub.says("/repos/acme/web/code-scanning/alerts", limited(Retry_After="3600"))

    events, fault = github.whatever(repositories=["acme/shop", "acme/web"], **ONE)

    assert len(findings(events)) == 1
    assert "max_wait_seconds" in str(fault)
    assert fault.retryable
    assert not github.slept


def test_limits_without_an_end_are_not_waited_for_without_an_end(hub, github):
    hub.says(PATH, limited(Retry_After="0"))

    _, fault = github.whatever(max_wait_seconds=5, **ONE)

    assert "rate limit" in str(fault)
    assert len(hub.asked) == 6


class TestPagesThatAreKept:
    @pytest.fixture
    def twice(self, hub, github, an_alert):
        """A first collection of two pages; what the second one answers."""
        following = f'<{hub.url}{PATH}?page=2>; rel="next"'
        first = (200, {"ETag": '"a"', "Link": following}, [an_alert(2)])
        second = (200, {"ETag": '"b"'}, [an_alert(1)])
        unchanged = (304, {}, None)
        hub.says(PATH, first, second, unchanged, unchanged)
        self.events = github(**ONE)
        assert len(findings(self.events)) == 2

        def again(*answers, **options):
            hub.asked.clear()
            hub.says(PATH, *answers or (unchanged,))
            return github(**ONE, **options)

        again.whole = (first, second)
        return again

    def test_an_unchanged_page_is_what_it_was(self, hub, twice):
        assert twice() == self.events
        assert [asked.headers["if-none-match"] for asked in hub.asked] == ['"a"', '"b"']

    def test_what_follows_an_unchanged_page_is_followed(self, hub, twice, an_alert):
        new = {"Link": f'<{hub.url}{PATH}?page=3>; rel="next"'}
        unchanged = (304, {}, None)

        assert len(findings(twice(unchanged, (304, new, None), [an_alert(3)]))) == 3

    def test_a_last_page_that_is_full_is_asked_for_anew(self, hub, github, an_alert):
        full = [an_alert(number) for number in range(100)]
        hub.says(PATH, (200, {"ETag": '"a"'}, full))
        github(**ONE)
        following = {"ETag": '"a"', "Link": f'<{hub.url}{PATH}?page=2>; rel="next"'}
        hub.says(PATH, (200, following, full), [an_alert(100)])

        assert named_last(github(**ONE)) == "100"
        assert "if-none-match" not in hub.asked[1].headers

    def test_another_token_has_other_pages(self, hub, twice):
        twice(*twice.whole, token="ghp_another")

        assert not any("if-none-match" in asked.headers for asked in hub.asked)

    @pytest.mark.parametrize("left", [b"", b"{}", b'{"items": 3}', b"\xff", b"[" * 100_000])
    def test_a_damaged_one_is_not_there(self, hub, github, twice, left):
        for file in (github.ctx.cache_dir / "pages").iterdir():
            file.write_bytes(left)

        assert twice(*twice.whole) == self.events
        assert not any("if-none-match" in asked.headers for asked in hub.asked)

    def test_they_are_for_this_user_alone_and_not_for_ever(self, github, twice):
        files = list((github.ctx.cache_dir / "pages").iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        os.utime(files[0], (0, 0))
        (github.ctx.cache_dir / "pages" / "left-over").touch()
        os.utime(github.ctx.cache_dir / "pages" / "left-over", (0, 0))

        twice(*twice.whole)
        github.moment += 15 * 86_400
        twice([])

        assert len(list((github.ctx.cache_dir / "pages").iterdir())) == 1


@pytest.mark.parametrize("options", [{"ca_file": "/nowhere/ca.pem"}, {"ca_file": __file__}])
def test_an_authority_that_is_none_is_named(github, options):
    with pytest.raises(ToolError, match="ca_file"):
        github(**options)


def test_a_proxy_that_is_none_is_told_without_its_password(github, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hunter2")

    with pytest.raises(ToolError, match="HTTPS_PROXY") as raised:
        github()

    assert "hunter2" not in str(raised.value)
