"""What is collected from a server of the tests' own, and what becomes of its faults."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from pydantic import ValidationError

from rediver_agent import Asset, Notice, ToolError
from rediver_agent.contract import Finding, Severity
from rediver_agent.testing import FakeCollectContext, check_collector, collect, provided
from rediver_dependency_track import DependencyTrack, Options

TOKEN = "odt_the_token_of_the_tests"


class Track(ThreadingHTTPServer):
    """Answers a path with a list, in pages; or with a status; or with bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers, self.asked = {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def projects(self, *names, **findings):
        """Each with its findings, by `project_1`, …; else with none."""
        self.answers["/api/v1/project"] = [
            {"uuid": f"u{number}", "name": name, "version": "1.0"}
            for number, name in enumerate(names)
        ]
        for number in range(len(names)):
            answer = findings.get(f"project_{number}", [])
            self.answers[f"/api/v1/finding/project/u{number}"] = answer


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.asked.append((parts.path, asked, self.headers["X-Api-Key"]))
        answer = self.server.answers.get(parts.path, 404)
        status, body, more = 200, answer, {}
        if isinstance(answer, int):
            status, body, more = answer, b"no", {"Location": "https://elsewhere.example"}
        elif isinstance(answer, list):
            size, begin = int(asked["pageSize"]), int(asked["pageNumber"]) - 1
            body = json.dumps(answer[size * begin : size * (begin + 1)]).encode()
            more = {"X-Total-Count": str(len(answer))}
        self.send_response_only(status)
        for name, value in {**more, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def track():
    server = Track()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def known(name="log4j-core", suppressed=False, **vulnerability):
    return {
        "component": {
            "uuid": "c1", "name": name, "group": "org.apache.logging.log4j", "version": "2.14.1",
            "purl": f"pkg:maven/org.apache.logging.log4j/{name}@2.14.1",
        },
        "vulnerability": {
            "uuid": "v1", "source": "NVD", "vulnId": "CVE-2021-44228", "severity": "CRITICAL",
            "cwes": [{"cweId": 502, "name": "Deserialization of Untrusted Data"}],
            "recommendation": "Upgrade to 2.17.1", **vulnerability,
        },
        "analysis": {"state": "NOT_AFFECTED", "isSuppressed": suppressed},
    }  # fmt: skip


def collected(track, tmp_path, **options):
    ctx = FakeCollectContext(tmp_path)
    return collect(DependencyTrack(), ctx, **{"url": track.url, "token": TOKEN, **options})


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def test_it_is_found_by_its_entry_point():
    names = [collector.name for collector in provided("dependency-track", "collector")]

    assert names == ["dependency-track"]


def test_the_standard_checks(track, tmp_path):
    track.projects("shop", "web", project_0=[known(), known("other")])

    check_collector(DependencyTrack(), tmp_path, secrets=[TOKEN], url=track.url, token=TOKEN)


def test_a_finding_says_what_dependency_track_knows(track, tmp_path):
    track.projects("shop", project_0=[known(), known(suppressed=True, severity="UNASSIGNED")])

    events = collected(track, tmp_path)
    finding, accepted = of(Finding, events)

    assert events[0].name == "shop 1.0"
    assert finding.severity is Severity.CRITICAL
    assert finding.title == "CVE-2021-44228 in org.apache.logging.log4j/log4j-core"
    assert finding.vulnerability.cwe_ids == ["CWE-502"]
    assert finding.vulnerability.affected_version == "2.14.1"
    assert finding.remediation.recommendation == "Upgrade to 2.17.1"
    assert finding.suppression is None
    assert accepted.suppression.justification == "NOT_AFFECTED"
    assert accepted.severity is Severity.INFO


def test_every_page_is_read_with_the_token(track, tmp_path):
    track.projects(*(f"p{number}" for number in range(101)), project_100=[known()] * 250)

    events = collected(track, tmp_path)

    assert len(of(Asset, events)) == 101
    assert len(of(Finding, events)) == 250
    assert {token for _, _, token in track.asked} == {TOKEN}
    pages = [asked["pageNumber"] for path, asked, _ in track.asked if path.endswith("/u100")]
    assert pages == ["1", "2", "3"]


def test_only_the_projects_that_were_asked_for_are_read(track, tmp_path):
    track.projects("shop", "web")

    assert [asset.name for asset in of(Asset, collected(track, tmp_path, projects=["web"]))] == [
        "web 1.0"
    ]
    with pytest.raises(ToolError, match="no active project gone"):
        collected(track, tmp_path, projects=["web", "gone"])


@pytest.mark.parametrize("answer", [403, 404, 500, 302, b"<html>", b'{"a": 1}'])
def test_a_project_that_cannot_be_read_is_said_and_the_others_are_kept(track, tmp_path, answer):
    track.projects("shop", "web", project_0=answer, project_1=[known()])

    events = collected(track, tmp_path)

    assert [type(event).__name__ for event in events] == [
        *("Asset", "ToolInfo", "Notice"),
        *("Asset", "ToolInfo", "Finding"),
    ]
    (notice,) = of(Notice, events)
    assert notice.level == "error"
    assert notice.path == "shop"


def test_a_finding_that_makes_no_sense_is_a_warning(track, tmp_path):
    track.projects("shop", project_0=[known(vulnId=None), known()])

    events = collected(track, tmp_path)

    assert [notice.level for notice in of(Notice, events)] == ["warning"]
    assert len(of(Finding, events)) == 1


@pytest.mark.parametrize("answer", [401, 403, b"<html>", [{"uuid": "u0"}], [{"name": "x"}] * 2])
def test_without_a_list_of_projects_there_is_no_collection(track, tmp_path, answer):
    track.projects("shop")
    track.answers["/api/v1/project"] = answer

    with pytest.raises(ToolError):
        collected(track, tmp_path)


def test_a_project_that_comes_twice_says_that_another_was_passed(track, tmp_path):
    track.projects("shop")
    track.answers["/api/v1/project"] *= 2

    with pytest.raises(ToolError, match="changed while it was read"):
        collected(track, tmp_path)


def test_a_server_that_is_gone_ends_the_collection_with_what_was_read(track, tmp_path):
    track.projects("shop", "web", "api")
    ctx, events = FakeCollectContext(tmp_path), []
    options = Options(url=track.url, token=TOKEN)

    async def until_it_is_gone():
        async for event in DependencyTrack().collect(ctx, options):
            events.append(event)
            if len(of(Asset, events)) == 2:
                track.answers["/api/v1/finding/project/u1"] = None  # it hangs up

    with pytest.raises(ToolError, match="cannot be reached"):
        anyio.run(until_it_is_gone)
    assert [asset.name for asset in of(Asset, events)] == ["shop 1.0", "web 1.0"]


@pytest.mark.parametrize(
    "said", [{"url": "http://track.example.com"}, {"token": None}, {"tokens": "x"}]
)
def test_options_that_mean_nothing_are_refused(said):
    with pytest.raises(ValidationError):
        Options.model_validate({"url": "https://track.example.com", "token": TOKEN, **said})
