"""What agents hear at once on their WebSocket, from a real server on both databases."""

import json
import shutil
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest
from house import wait_for
from rediver_server_fixtures import TEMPLATE
from served import AVAILABLE, CONFIG, UPDATE, UPGRADE, Served

from rediver_server.auth import Caller
from rediver_server.db import Database
from rediver_server.errors import ApiError
from rediver_server.gateway import Gateway
from rediver_server.models import Role
from rediver_server.nudges import Nudge


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(request, tmp_path_factory):
    """One server for all tests here; each makes a tenant of its own."""
    folder = tmp_path_factory.mktemp("served")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database(template=TEMPLATE)
    else:
        shutil.copy(request.getfixturevalue("schema_file"), folder / "server.db")
        url = f"sqlite:///{folder / 'server.db'}"
    running = Served(url, folder, REDIVER_SERVER_PING_SECONDS="0.5")
    yield running
    running.close()


@pytest.fixture
def acme(served):
    return served.tenant()


GARBAGE = b"\xff" * 100


def closing(ears):
    """Wait for its end. The reason that was given."""
    assert ears.closed.wait(30)
    (last,) = ears.heard
    assert last["type"] == "closing"
    return last["reason"]


def test_a_command_nudges_its_source_and_nobody_else(served, acme):
    meant, other, stranger = acme.agent(), acme.agent(), served.tenant().agent()
    theirs = [agent.listen() for agent in (meant, other, stranger)]

    acme.order(meant)
    theirs[0].hear(AVAILABLE)
    acme.order(other, CONFIG)
    theirs[1].hear(UPDATE, AVAILABLE)  # its first messages
    assert theirs[2].heard == []


def test_a_command_of_the_pool_nudges_a_few_that_can_do_it_in_turn(acme):
    able = [acme.agent("semgrep", "trivy") for _ in range(3)]
    unable = acme.agent("gitleaks")
    ears = [agent.listen() for agent in able]
    deaf = unable.listen()

    def nudged():
        """Who heard of a new command before the marker that everybody gets after it."""
        acme.order()
        for agent in (*able, unable):
            acme.order(agent, CONFIG)
        wait_for(lambda: all(UPDATE in each.heard for each in (*ears, deaf)), "the markers")
        heard = {n for n, each in enumerate(ears) if each.heard[0] == AVAILABLE}
        deaf.hear(UPDATE, AVAILABLE)
        for n, each in enumerate(ears):
            each.hear(*[AVAILABLE] * (n in heard), UPDATE, AVAILABLE)
        return heard

    first, second = nudged(), nudged()
    assert (len(first), len(second)) == (2, 2)


def test_the_least_recently_nudged_hear_of_the_next_pool_command(acme):
    agents = [acme.agent("semgrep") for _ in range(4)]
    ears = [agent.listen() for agent in agents]

    acme.order()
    wait_for(lambda: sum(bool(each.heard) for each in ears) == 2, "two heard")
    acme.order()
    wait_for(lambda: all(each.heard for each in ears), "then the other two")
    assert [each.heard for each in ears] == [[AVAILABLE]] * 4


def test_who_is_paused_hears_of_no_new_command(acme):
    agent = acme.agent("semgrep")
    held = agent.acknowledge(acme.order(agent))
    ears = agent.listen()

    acme.ok("PATCH", f"/sources/{agent.id}", {"paused": True})
    acme.order(agent)
    acme.order()
    acme.ok("DELETE", f"/commands/{held}")
    ears.hear({"type": "command_cancelled", "command_id": held})
    acme.ok("PATCH", f"/sources/{agent.id}", {"paused": False})
    ears.hear(AVAILABLE)


def test_deleting_a_key_closes_its_sockets_and_no_others(acme):
    agent = acme.agent()
    second = acme.ok("POST", f"/sources/{agent.id}/keys", {})
    old, new = agent.listen(), type(agent)(agent.served, second["api_key"], agent.id).listen()
    (first,) = {key["id"] for key in acme.ok("GET", f"/sources/{agent.id}")["keys"]} - {
        second["id"]
    }

    acme.ok("DELETE", f"/sources/{agent.id}/keys/{first}")
    assert closing(old) == "the key has ended"
    acme.order(agent)
    new.hear(AVAILABLE)
    acme.ok("DELETE", f"/sources/{agent.id}")
    closing(new)


def test_a_key_that_the_command_line_revokes_closes_its_sockets(served, acme):
    agent = acme.agent()
    ears = agent.listen()
    (key,) = acme.ok("GET", f"/sources/{agent.id}")["keys"]

    served.revoke(key["id"])
    closing(ears)


def test_a_key_that_expires_closes_its_sockets(acme):
    agent = acme.agent()
    soon = datetime.now(UTC) + timedelta(seconds=2)
    key = acme.ok("POST", f"/sources/{agent.id}/keys", {"expires_at": soon.isoformat()})
    short, long = type(agent)(agent.served, key["api_key"], agent.id).listen(), agent.listen()

    closing(short)
    assert datetime.now(UTC) >= soon
    assert not long.closed.is_set()


def test_what_is_no_agents_upgrade_is_answered_before_it(served, acme):
    agent, path = acme.agent(), "/agents/ws"
    for key, headers, status in (
        ("rs_src_nobody", UPGRADE, 401),
        (acme.key, UPGRADE, 403),
        (agent.key, {**UPGRADE, "X-Rediver-Source-ID": "src_other"}, 403),
        (agent.key, {}, 400),
        (agent.key, {**UPGRADE, "Sec-WebSocket-Version": "7"}, 400),
    ):
        caller = type(agent)(served, key)
        reply = caller.call("GET", path, **headers)
        assert reply.status_code == status, reply.text
        assert reply.json()["error"]["message"]


def test_compression_is_not_agreed_to(served, acme):
    extension = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    with served.upgraded(acme.agent().key, **extension) as connection:
        head = connection.recv(4096)
    assert head.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in head.lower()


def test_the_upgrade_has_the_headers_of_every_response(served, acme):
    with served.upgraded(acme.agent().key, **{"X-Request-ID": "mine-1"}) as connection:
        head = connection.recv(4096)
    assert b"\r\nX-Rediver-Contract: 1\r\nX-Request-ID: mine-1\r\n" in head


def test_a_peer_that_is_gone_at_once_is_no_fault_of_the_server(served, acme):
    agent = acme.agent()
    for _ in range(40):
        with served.upgraded(agent.key) as connection:
            connection.recv(4096)
            connection.sendall(GARBAGE)
    wait_for(lambda: served.log.read_text().count(agent.id) == 40, "all of them have ended")
    assert "Traceback" not in served.log.read_text()


def test_a_peer_that_answers_no_ping_is_let_go(served, acme):
    with served.upgraded(acme.agent().key) as connection:
        heard = b"".join(iter(lambda: connection.recv(4096), b""))  # until the server closes
    assert heard.count(b"\x89\x00") == 1  # a ping


def test_what_an_agent_says_is_dropped(acme):
    agent = acme.agent()
    ears = agent.listen()
    for _ in range(1000):
        ears.ws.send("x" * 1000)
    acme.order(agent)
    ears.hear(AVAILABLE)

    ears.ws.send("x" * 2000)
    assert ears.closed.wait(30)


class Pair:
    """A socket to a gateway of this process, whose buffers hold next to nothing."""

    def __init__(self, gateway, source="src_a", tenant="ten_a"):
        server, self.client = socket.socketpair()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        names = {f"HTTP_{name.upper().replace('-', '_')}": UPGRADE[name] for name in UPGRADE}
        self.environ = {**names, "HTTP_HOST": "x", "gunicorn.socket": server}
        who = Caller("key_a", tenant, Role.SOURCE, source)
        self.thread = threading.Thread(target=gateway.serve, args=(self.environ, who))
        self.thread.start()
        self.read = b""
        while b"\r\n\r\n" not in self.read:
            self.read += self.client.recv(4096)
        head, _, self.read = self.read.partition(b"\r\n\r\n")
        assert b" 101 " in head

    def messages(self):
        """All until the server closes."""
        text = self.read + b"".join(iter(lambda: self.client.recv(4096), b""))
        return [json.loads(f"{{{part.split(b'}')[0].decode()}}}") for part in text.split(b"{")[1:]]

    def end(self):
        self.client.close()
        self.thread.join(30)
        self.environ["gunicorn.socket"].close()
        assert not self.thread.is_alive()


@pytest.fixture
def gateway(schema_file, tmp_path):
    """One of this process, with room for two."""
    shutil.copy(schema_file, tmp_path / "server.db")
    db = Database(f"sqlite:///{tmp_path / 'server.db'}")
    yield Gateway(db, max_sockets=2, ping_seconds=25)
    db.close()


def test_a_message_that_is_too_big_ends_its_socket_every_time(gateway):
    too_big = b"\x82\xfe\x05\xdc" + bytes(4 + 1500)
    for _ in range(50):
        pair = Pair(gateway)
        pair.client.sendall(too_big)
        while pair.client.recv(4096):
            pass
        pair.end()


def test_a_peer_that_reads_nothing_keeps_nobody_waiting_and_is_let_go(gateway):
    slow, quick = Pair(gateway), Pair(gateway)
    threading.Thread(target=gateway.run, daemon=True).start()

    def blocked():
        gateway.nudge_all()
        return quick.client.recv(4096) and len(gateway) == 1

    wait_for(blocked, "the slow one is gone")
    gateway.close_all("enough")
    assert quick.messages()[-1] == {"type": "closing", "reason": "enough"}
    slow.end()
    quick.end()


def test_more_sockets_than_the_settings_allow_are_refused_until_one_closes(gateway):
    pairs = [Pair(gateway), Pair(gateway)]
    with pytest.raises(ApiError) as refused:
        gateway.serve({}, Caller("key_a", "ten_a", Role.SOURCE, "src_a"))
    assert refused.value.status == 503
    pairs.pop().end()

    pairs.append(Pair(gateway))
    assert len(gateway) == 2
    for each in pairs:
        each.end()
    assert len(gateway) == 0


def test_a_socket_that_opens_while_the_server_stops_is_told_so(gateway):
    gateway.close_all("enough")
    late = Pair(gateway)
    assert late.messages() == [{"type": "closing", "reason": "enough"}]
    late.end()


def test_nudges_that_nobody_passes_on_keep_no_transaction_waiting(gateway):
    for n in range(20_000):
        gateway.deliver(Nudge("command_available", "ten_a", f"src_{n}"))
