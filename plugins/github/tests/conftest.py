"""A GitHub of the tests' own on loopback, which answers what a test tells it to."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest

from rediver_agent import ToolError
from rediver_agent.testing import FakeCollectContext
from rediver_github import GitHub
from rediver_github._client import Clock

TOKEN = "ghp_the_token_of_the_tests"
NOON = 1705312800.0


@dataclass
class Asked:
    path: str
    query: dict
    headers: dict


@dataclass
class Hub:
    """`answers` by path: each in turn, the last one again and again. `asked` is what was asked."""

    url: str
    answers: dict = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def says(self, path, *answers):
        """Each answer is a body, or (status, headers, body), or what to do with a handler."""
        self.answers[path] = list(answers)

    def alerts(self, name="acme/shop", **kinds):
        """What a repository has, by kind; none of the others."""
        for kind in ("dependabot", "code-scanning", "secret-scanning"):
            self.says(f"/repos/{name}/{kind}/alerts", kinds.get(kind.replace("-", "_"), []))

    def answer(self, asked):
        self.asked.append(asked)
        left = self.answers.get(asked.path, [(404, {}, {"message": "Not Found"})])
        return left.pop(0) if len(left) > 1 else left[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.hub.answer(Asked(parts.path, dict(parse_qsl(parts.query)), headers))
        if callable(answer):
            answer(self)
            return
        status, more, body = answer if isinstance(answer, tuple) else (200, {}, answer)
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        self.send_response_only(status)
        for name, value in more.items():
            self.send_header(name, value.replace("https://api.github.com", self.server.hub.url))
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    return server


@pytest.fixture
def hub():
    server = serving()
    yield server.hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def elsewhere():
    """Another server, which must never be asked."""
    server = serving()
    yield server.hub
    server.shutdown()
    server.server_close()


class Collecting:
    """The collector with a clock that nobody waits for. `slept` is what it would have waited."""

    def __init__(self, hub, directory):
        self.ctx = FakeCollectContext(directory)
        self.given = {"base_url": hub.url, "token": TOKEN, "repositories": ["acme/shop"]}
        self.slept = []
        self.moment = NOON

    async def _sleep(self, seconds):
        self.slept.append(seconds)
        self.moment += seconds

    @property
    def github(self):
        return GitHub(lambda: Clock(lambda: self.moment, self._sleep))

    def __call__(self, **options):
        events, fault = self.whatever(**options)
        if fault:
            raise fault
        return events

    def whatever(self, **options):
        """The events, and the fault that they ended by."""
        valid = self.github.options.model_validate({**self.given, **options})
        return anyio.run(self._taken, valid)

    async def _taken(self, valid):
        events, fault = [], None
        try:
            async for event in self.github.collect(self.ctx, valid):
                events.append(event)  # noqa: PERF401 - a comprehension would lose those before a fault
        except ToolError as error:
            fault = error
        return events, fault


@pytest.fixture
def github(hub, tmp_path):
    """Collects: `github(since=…)` is every event; `github.whatever()` a fault, too."""
    return Collecting(hub, tmp_path)


def code_alert(number, name="acme/shop", **more):
    return {
        "number": number, "state": "open", "html_url": f"http://hub/{name}/security/{number}",
        "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z",
        "rule": {"id": "js/zipslip", "severity": "error", "description": "Zip slip"},
        "tool": {"name": "CodeQL"},
        "most_recent_instance": {"location": {"path": "a.js", "start_line": 3}},
        **more,
    }  # fmt: skip


@pytest.fixture
def an_alert():
    """Makes a code scanning alert: `an_alert(number, repository, **more)`."""
    return code_alert
