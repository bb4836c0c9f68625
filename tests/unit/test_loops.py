"""The loops of an agent go on when its spool fails."""

import logging

import anyio
import pytest

from rediver_agent.agent import build_executor, utc_now
from rediver_agent.client import Client
from rediver_agent.configuration import Configuration
from rediver_agent.loops.deliver import DeliverLoop
from rediver_agent.loops.doorbell import Doorbell
from rediver_agent.loops.heartbeat import HeartbeatLoop
from rediver_agent.registry import Registry
from rediver_agent.settings import Settings
from rediver_agent.spool import Spool
from rediver_agent.status import Status


class Heard(logging.Handler):
    """Says when a loop has complained."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.event = anyio.Event()

    def emit(self, _record):
        self.event.set()


def deliver_loop(client, spool, settings, bell):
    return DeliverLoop(client, spool, Configuration(settings), bell, utc_now)


def heartbeat_loop(client, spool, settings, bell):
    return HeartbeatLoop(
        client=client, executor=build_executor(Configuration(settings), Registry({}, {}), spool),
        spool=spool, configuration=Configuration(settings),
        runtime=Status(utc_now(), "server-controlled"), scanners=list, collectors=list,
        hostname="h", instance_id="i", started=utc_now(), now=utc_now, bell=bell,
        on_damage=lambda: None,
    )  # fmt: skip


@pytest.mark.parametrize("build", [deliver_loop, heartbeat_loop])
def test_a_loop_goes_on_when_the_spool_cannot_be_read(tmp_path, build):
    server = {"base_url": "http://127.0.0.1:9", "api_key": "rs_src_x"}
    settings = Settings(state_dir=tmp_path, server=server)
    spool = Spool(tmp_path, now=utc_now)
    spool.close()
    heard = Heard()
    logger = logging.getLogger("rediver_agent.loops")
    logger.addHandler(heard)

    async def main():
        bell = Doorbell()
        async with (
            Client(settings.server, now=utc_now) as client,
            anyio.create_task_group() as all_,
        ):
            all_.start_soon(build(client, spool, settings, bell).run)
            for _ in range(2):
                with anyio.fail_after(20):
                    await heard.event.wait()
                heard.event = anyio.Event()
                bell.ring()
            all_.cancel_scope.cancel()

    try:
        anyio.run(main)
    finally:
        logger.removeHandler(heard)
