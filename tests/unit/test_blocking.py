"""A plugin that blocks the event loop is named in the log, by its line."""

import logging
import threading

import anyio
import pytest

from rediver_agent.loops.blocking import blocking_is_told


class Heard(logging.Handler):
    """Says when something was logged."""

    def __init__(self):
        super().__init__()
        self.said, self.event = [], threading.Event()

    def emit(self, record):
        self.said.append(record.getMessage())
        self.event.set()


@pytest.fixture
def heard():
    handler, logger = Heard(), logging.getLogger("rediver_agent.loops.blocking")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def a_plugin_that_waits_without_await(heard):
    assert heard.event.wait(60)
    heard.event.clear()


def test_who_blocks_the_event_loop_is_told_with_the_line(heard):
    async def agent():
        with blocking_is_told(0.05):
            a_plugin_that_waits_without_await(heard)
            await anyio.to_thread.run_sync(heard.event.wait, 60)

    anyio.run(agent)

    blocked, goes_on = heard.said
    assert "a_plugin_that_waits_without_await" in blocked
    assert "goes on" in goes_on
