"""A running agent in numbers, for Prometheus: on 127.0.0.1 alone, and looked up when asked for.

Needs the extra `rediver-agent[metrics]`; nothing imports this module but an agent that is to have
a metrics port. The registry is this agent's own.
"""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType] - typed by halves
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from typing_extensions import override

from rediver_agent import __version__, spool_view
from rediver_agent.errors import ConfigurationError, SpoolError
from rediver_agent.loops.snapshot import Snapshot
from rediver_agent.state_dir import free_bytes
from rediver_agent.status import Calls

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 10.0  # with who connects and does not ask


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each who asks. One that breaks off is no line in the log, as in the library's
    own server it is: with a traceback, whatever the log's format.
    """

    daemon_threads = True

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("metrics: %s broke off", client_address)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_SECONDS

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """That it was asked is not said."""


@contextmanager
def serving_metrics(port: int, snapshot: Snapshot) -> Generator[None]:
    """Answer `GET /metrics` while this lasts. `ConfigurationError` if the port cannot be had."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentNumbers(snapshot))
    try:
        answer = cast("WSGIApplication", make_wsgi_app(registry))
        server = make_server(LOOPBACK, port, answer, _Server, _Handler)
    except OSError as fault:
        raise ConfigurationError(
            f"agent.metrics_port {port} cannot be had: {fault.strerror}; name a free one"
        ) from fault
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, eq=False)  # the registry keeps it by identity
class AgentNumbers(Collector):
    """Reads the numbers of one agent. Called in a thread of the metrics' own."""

    snapshot: Snapshot

    @override
    def collect(self) -> Iterator[Metric]:
        """All of them, as they are now."""
        yield from self._agent()
        yield from self._work()
        yield from self._server()
        yield from self._disk()

    def _agent(self) -> Iterator[Metric]:
        status = self.snapshot.status
        labels = {"version": __version__, "mode": status.mode}
        yield InfoMetricFamily("rediver_agent", "The agent that answers.", labels)
        started = status.started_at.timestamp()
        yield _gauge("start_time_seconds", "When it was started, since 1970.", started)
        yield _gauge("draining", "1 while it ends: nothing new is begun.", status.draining)

    def _work(self) -> Iterator[Metric]:
        executor = self.snapshot.executor
        yield _gauge("slots", "Scans and collections that may run at once.", executor.slots)
        busy = executor.slots - executor.free_slots
        yield _gauge("slots_busy", "Of these, how many do.", busy)
        over = _counter("commands", "Commands that are over, local ones too.", "type", "status")
        for (type_name, status), count in sorted(executor.outcomes.items()):
            over.add_metric([type_name, status], count)
        yield over

    def _server(self) -> Iterator[Metric]:
        status = self.snapshot.status
        yield _calls("polls", "Polls of the server.", status.poll)
        yield _calls("heartbeats", "Heartbeats to the server.", status.heartbeat)
        yield _moment("last_successful_poll", "When a poll was last answered.", status.poll)
        yield _moment("last_successful_heartbeat", "When a heartbeat was.", status.heartbeat)
        yield _gauge("socket_open", "1 while the server can wake it.", status.socket == "open")

    def _disk(self) -> Iterator[Metric]:
        state_dir = self.snapshot.configuration.settings.state_dir
        now = self.snapshot.now()
        try:
            view = spool_view.look(state_dir)
            free = free_bytes(state_dir)
        except (SpoolError, OSError):
            return  # an absent number can be alerted on; a wrong one cannot
        rows = GaugeMetricFamily(
            "rediver_agent_spool_rows", "What is kept for the server.", labels=["state"]
        )
        rows.add_metric(["waiting"], view.waiting)
        rows.add_metric(["parked"], view.parked)
        yield rows
        age = max(0.0, (now - view.oldest_at).total_seconds()) if view.oldest_at else 0.0
        yield _gauge("spool_oldest_seconds", "How long the oldest of it has been there.", age)
        yield _gauge("disk_free_bytes", "Room below the state directory.", free)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rediver_agent_{name}", text, value=float(value))


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"rediver_agent_{name}", text, labels=labels)


def _calls(name: str, text: str, calls: Calls) -> Metric:
    counter = _counter(name, text, "result")
    counter.add_metric(["good"], calls.good)
    counter.add_metric(["failed"], calls.failed)
    return counter


def _moment(name: str, text: str, calls: Calls) -> Metric:
    """0 for never, as Prometheus has it."""
    seconds = calls.last_good_at.timestamp() if calls.last_good_at else 0.0
    return _gauge(f"{name}_timestamp_seconds", f"{text} Since 1970; 0 is never.", seconds)
