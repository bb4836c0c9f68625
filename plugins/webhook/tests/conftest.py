"""A webhook that listens, in a thread of its own with a real event loop and a real socket, and
whoever sends to it.
"""

import hashlib
import hmac
import http.client
import json
import socket
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from rediver_agent.testing import FakeListenContext
from rediver_webhook import Webhook

SECRET = "It's a Secret to Everybody"
PATH = "/webhook/github"


def signature(body, secret=SECRET):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Hook:
    """One that listens. `ctx.kept` is what it took."""

    def __init__(self, ctx):
        self.ctx = ctx
        url = urlsplit(ctx.said[0][1].removeprefix("listening on "))
        self.host, self.port, self.path = url.hostname, url.port, url.path
        self.deliveries = 0

    def post(self, body, event="dependabot_alert", *, secret=SECRET, path=None, **headers):
        """Deliver as GitHub does. Returns status and sentence. A header of None is left out."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.deliveries += 1
        sent = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": f"delivery-{self.deliveries}",
            "X-Hub-Signature-256": signature(body, secret),
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        sent = {name: value for name, value in sent.items() if value is not None}
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as connection:
            connection.request("POST", path or self.path, body, sent)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())["message"]

    def raw(self, *parts):
        """Send bytes, and return everything that comes back until the connection is closed."""
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            for part in parts:
                connection.sendall(part)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer


@contextmanager
def hooked(directory, **options):
    """A webhook with these options, over the cache in `directory`, while this is entered."""
    ctx = FakeListenContext(directory)
    valid = Webhook.options.model_validate({"secrets": [SECRET], "port": 0, **options})

    async def until(scope):
        with scope:
            await Webhook().listen(ctx, valid)

    with start_blocking_portal() as portal:
        scope = portal.call(anyio.CancelScope)
        ended = portal.start_task_soon(until, scope)
        while not ctx.said and not ended.done():
            portal.call(anyio.lowlevel.checkpoint)
        if ended.done():
            ended.result()
        try:
            yield Hook(ctx)
        finally:
            portal.call(scope.cancel)
            ended.result(timeout=30)


@pytest.fixture(scope="module")
def hook(tmp_path_factory):
    """One for the tests of a page that need no options of their own."""
    with hooked(tmp_path_factory.mktemp("hook")) as hook:
        yield hook


@pytest.fixture(scope="session")
def listening():
    """`hooked`, for a test that has options of its own."""
    return hooked


@pytest.fixture
def sign():
    """The signature that GitHub would send."""
    return signature


def alert(**changes):
    """A delivery of a Dependabot alert; `changes` are of the alert."""
    return {
        "action": "created",
        "alert": {
            "number": 1,
            "state": "open",
            "dependency": {"package": {"ecosystem": "pip", "name": "left"}},
            "security_advisory": {"ghsa_id": "GHSA-1", "summary": "bad", "severity": "high"},
            **changes,
        },
        "repository": {"full_name": "acme/shop", "html_url": "https://github.com/acme/shop"},
    }


@pytest.fixture
def dependency():
    """Makes deliveries of Dependabot alerts."""
    return alert
