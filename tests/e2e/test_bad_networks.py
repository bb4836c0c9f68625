"""Whatever the network does between an agent and its server, each command has one outcome.

The network is real and is broken while an agent works: in the middle of a scan, with a result to
deliver and a new command to fetch. When it is well again, both are done, once.
"""

import socket
import sqlite3
import ssl
import sys
from contextlib import closing

import pytest
import trustme
from house import House, Program, wait_for
from stub_scanner import behave
from tcp_proxy import ForwardProxy, Proxy, reply

pytestmark = pytest.mark.xdist_group("bad-networks")
OPEN = "the server wakes this agent by a WebSocket"
TROUBLE = ("polling:", "delivering again", "heartbeat:")
# A real agent on a clock of its own, which an agent takes as a parameter.
ON_ANOTHER_CLOCK = """
import sys
from datetime import timedelta
from pathlib import Path
import anyio
from rediver_agent.agent import Agent, utc_now
from rediver_agent.configuration import Configuration
from rediver_agent.credentials import Secrets
from rediver_agent.overlay import Overlay
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry

overlay, off = Overlay.open(Path(sys.argv[1])), timedelta(hours=int(sys.argv[2]))
secrets = Secrets(overlay.settings.secrets())
configuration, registry = Configuration(overlay.settings), build_registry(load_plugins())
anyio.run(Agent(overlay, configuration, registry, secrets, now=lambda: utc_now() + off).run)
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, stub_env):
    """A server, an agent with no socket, and a network between them."""
    house = House(tmp_path_factory.mktemp("house"))
    house.start_server()
    house.network = Proxy(house.port)
    house.agent = house.start_agent(
        house.directory,
        env=stub_env,
        server={
            "base_url": f"http://127.0.0.1:{house.network.port}",
            "timeout": "1s",
            "websocket": False,
        },
    )
    yield house
    house.close()
    house.network.close()


@pytest.fixture
def broken(world):
    yield world
    world.network.heal()


FAULTS = {
    "a black hole": {"frozen": True},
    "a request that is cut off": {"cut_request_after": 150},
    "a reply that is cut off in its body": {"cut_reply_after": 400},
    "a login page": {"answer": reply("200 OK")},
    "a proxy that limits": {"answer": reply("429 Too Many Requests", Retry_After=1)},
}
RARE_FAULTS = {
    "a reply that is cut off in its head": {"cut_reply_after": 30},
    "garbage": {"garbled": True},
    "a redirect to a login page": {"answer": reply("302 Found", Location="http://127.0.0.1:9/")},
    "a proxy whose server is away": {"answer": reply("502 Bad Gateway")},
    "a proxy that forbids": {"answer": reply("403 Forbidden")},
}


def hurry(house):
    """As if the waits of the back-off were over: what waits is due at the next look."""
    with closing(sqlite3.connect(house.directory / "state" / "spool.sqlite3")) as spool, spool:
        spool.execute("UPDATE outbox SET next_try_at = 0")


def in_the_middle_of_a_scan(house, name):
    """Two commands: one whose tool runs, and ends when its gate is there; one to come."""
    first, second = (house.directory / f"{name}-{n}".replace(" ", "-") for n in (1, 2))
    gate = house.directory / f"{name}.gate"
    behave(first, gate=str(gate), findings=3)
    behave(second, findings=2)
    running = house.scan(first)
    house.running(running)
    return running, gate, second


def assert_done_once(house, before, *commands):
    for command in commands:
        done = house.outcome(command)
        assert (done["status"], done["attempt"]) == ("completed", 1), done
        _, events = house.call("GET", f"/api/v1/commands/{command}/events")
        assert sum(event["to_status"] == "completed" for event in events["events"]) == 1
    found = [item for item in house.findings() if item["id"] not in before]
    assert len(found) == 5
    assert {item["occurrence_count"] for item in found} == {1}
    assert house.agent.process.poll() is None


@pytest.mark.parametrize(
    "name", [*FAULTS, *(pytest.param(name, marks=pytest.mark.slow) for name in RARE_FAULTS)]
)
def test_a_fault_of_the_network_costs_time_and_nothing_else(broken, name):
    house = broken
    before = {item["id"] for item in house.findings()}
    running, gate, second = in_the_middle_of_a_scan(house, name)
    said = len(house.agent.text())
    for fault, value in (FAULTS | RARE_FAULTS)[name].items():
        setattr(house.network, fault, value)
    gate.touch()
    waiting = house.scan(second)
    wait_for(
        lambda: all(word in house.agent.text()[said:] for word in TROUBLE),
        f"the agent has met the fault with every kind of call:\n{house.agent.text()[said:]}",
    )

    house.network.heal()
    hurry(house)

    assert_done_once(house, before, running, waiting)


def test_a_network_that_is_gone_for_a_while(broken):
    house = broken
    before = {item["id"] for item in house.findings()}
    running, gate, second = in_the_middle_of_a_scan(house, "gone")
    said = len(house.agent.text())
    house.network.refuse()
    gate.touch()
    waiting = house.scan(second)
    wait_for(lambda: all(word in house.agent.text()[said:] for word in TROUBLE), "it is noticed")

    house.network.listen()
    hurry(house)

    assert_done_once(house, before, running, waiting)


def test_a_slow_network_is_no_fault_at_all(broken):
    house = broken
    before = {item["id"] for item in house.findings()}
    said = len(house.agent.text())
    house.network.delay = 0.2
    running, gate, second = in_the_middle_of_a_scan(house, "slow")
    gate.touch()

    assert_done_once(house, before, running, house.scan(second))
    assert not any(word in house.agent.text()[said:] for word in TROUBLE)


def test_a_server_that_never_answers_keeps_no_starting_agent_from_its_end(tmp_path, stub_env):
    house = House(tmp_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(60)
        house.port = listener.getsockname()[1]
        agent = house.start_agent(tmp_path, env=stub_env, server={"timeout": "10m"})
        silent, _ = listener.accept()  # the first heartbeat
    with closing(silent):
        assert agent.stop() == 0


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_an_hour_off_neither_expires_nor_loses_anything(
    world, stub_env, tmp_path, hours
):
    source = world.server_says(
        "source", "create", "--tenant", world.tenant_id, "--name", f"off-{hours}"
    )
    config = world.agent_config(
        tmp_path, state=f"off-{hours}", server={"api_key": source["api_key"], "source_id": None}
    )
    behave(tmp_path / "app", findings=1)
    order = {
        "type": "scan", "source_id": source["id"], "ttl_seconds": 50,
        "payload": {"scanner": "stub", "target": str(tmp_path / "app")},
    }  # fmt: skip
    before = len(world.findings())
    agent = Program(
        tmp_path / "log", sys.executable, "-c", ON_ANOTHER_CLOCK, str(config), str(hours),
        env=stub_env,
    )  # fmt: skip
    world.programs.append(agent)

    for _ in range(2):
        _, created = world.call("POST", "/api/v1/commands", order)
        assert world.outcome(created["id"])["status"] == "completed", agent.text()
    assert len(world.findings()) == before + 1
    agent.stop()


def test_an_agent_works_through_everything_that_a_company_puts_in_between(tmp_path, stub_env):
    """A proxy that wants credentials, a private authority, client certificates; and the socket."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("agent").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    house = House(tmp_path)
    house.start_server({"REDIVER_SERVER_POLL_INTERVAL_SECONDS": "300"})
    tls, forward = Proxy(house.port, tls=context), ForwardProxy("user:secret")
    try:
        agent = house.start_agent(
            tmp_path,
            env={**stub_env, "HTTPS_PROXY": f"http://user:secret@127.0.0.1:{forward.port}"},
            agent={"command_poll_interval": "300s"},
            server={
                "base_url": f"https://localhost:{tls.port}",
                "ca_file": str(tmp_path / "ca.pem"),
                "client_cert": str(tmp_path / "me.pem"),
            },
        )
        wait_for(lambda: OPEN in agent.text(), f"the socket is open:\n{agent.text()}")
        behave(tmp_path / "app")

        assert house.outcome(house.scan(tmp_path / "app"))["status"] == "completed"
        assert set(forward.requests) == {f"CONNECT localhost:{tls.port} HTTP/1.1"}
        assert "secret" not in agent.text()
    finally:
        house.close()
        tls.close()
        forward.close()
