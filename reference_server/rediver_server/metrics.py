"""`/metrics`: what this server has done, and how its queue stands.

What it has done is counted once it is committed, and adds up over the workers that share a folder
PROMETHEUS_MULTIPROC_DIR. The queue is read when asked: everybody's with the metrics token, with a
person's key the tenant's and nothing else. No label holds what a client made up.
"""

import hmac
import os
import time
from typing import Final, cast

import prometheus_client as prometheus
from flask import Blueprint, Flask, Response, current_app, g, request
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from pydantic import SecretStr
from sqlalchemy import func, select

from rediver_agent.contract import TERMINAL, routes
from rediver_agent.contract.lifecycle import HELD
from rediver_server.auth import caller, requires, wrong_key
from rediver_server.command_moves import SERVER
from rediver_server.db import Transaction, database
from rediver_server.models import Command, Role, ScanSchedule

_METHODS: Final = {"GET", "POST", "PATCH", "DELETE"}
_BUCKETS: Final = (0.005, 0.025, 0.1, 0.5, 1, 5)

blueprint = Blueprint("metrics", __name__)


class Metrics:
    """What this process counts."""

    def __init__(self, app: Flask, token: SecretStr | None) -> None:
        self.token = f"Bearer {token.get_secret_value()}".encode() if token else None
        self.own = own = prometheus.CollectorRegistry()
        count, by = prometheus.Counter, ["method", "route", "status"]
        self.claims = count("rediver_claims", "Attempts handed to agents", registry=own)
        self.losses = count("rediver_lease_losses", "Attempts taken back", registry=own)
        self.results = count("rediver_results", "Commands that ended", ["status"], registry=own)
        self.sockets = prometheus.Gauge(
            "rediver_open_sockets", "WebSockets", registry=own, multiprocess_mode="livesum"
        )
        self.requests = prometheus.Histogram(
            "rediver_request_seconds", "Until a reply began", by, buckets=_BUCKETS, registry=own
        )
        app.extensions["metrics"] = self
        app.extensions["rediver"].committed = self._committed
        app.after_request(self._answered)
        app.register_blueprint(blueprint)

    def _committed(self, tx: Transaction) -> None:
        for before, to, actor, is_new_attempt in tx.info.get("moves", ()):
            self.claims.inc(is_new_attempt)
            self.losses.inc(before in HELD and actor == SERVER)
            if to in TERMINAL and before not in TERMINAL:
                self.results.labels(to).inc()

    def _answered(self, response: Response) -> Response:
        self.sockets.set(len(current_app.extensions.get("gateway", ())))
        rule = request.url_rule.rule if request.url_rule else "none"
        if rule != routes.WEBSOCKET:  # that one lasts as long as its socket
            method = request.method if request.method in _METHODS else "other"
            spent = time.perf_counter() - g.started
            self.requests.labels(method, rule, response.status_code).observe(spent)
        return response


@blueprint.before_request
def with_token() -> Response | None:
    """Where a token is set it alone opens, and shows everything."""
    metrics = cast("Metrics", current_app.extensions["metrics"])
    if metrics.token is None:
        return None
    if not hmac.compare_digest(metrics.token, request.headers.get("Authorization", "").encode()):
        raise wrong_key()
    counted = metrics.own
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(counted := prometheus.CollectorRegistry())
    return _reply(prometheus.generate_latest(counted) + _queue())


@blueprint.get(routes.METRICS)
@requires(Role.VIEWER)
def with_key() -> Response:
    return _reply(_queue(caller().tenant_id))


def _reply(text: bytes) -> Response:
    return Response(text, content_type=prometheus.CONTENT_TYPE_LATEST)


class _Standing(Collector):
    def __init__(self, *families: GaugeMetricFamily) -> None:
        self.collect = lambda: families


def _queue(tenant_id: str | None = None) -> bytes:
    """How the queue stands. What is finished has no `due_at`, so an index leaves it out."""
    by = ["status", "priority"]
    depth = GaugeMetricFamily("rediver_queue_commands", "Commands not finished", labels=by)
    oldest = GaugeMetricFamily("rediver_queue_oldest_seconds", "Waits that long", labels=by)
    lag = GaugeMetricFamily("rediver_schedule_lag_seconds", "The latest schedule is late by")
    since = func.min(func.coalesce(Command.scheduled_at, Command.created_at))
    kind = (Command.status, Command.priority)
    commands = select(*kind, func.count(), since).group_by(*kind)
    due = select(func.min(ScanSchedule.next_run_at))
    if tenant_id is not None:
        commands = commands.where(Command.tenant_id == tenant_id)
        due = due.where(ScanSchedule.tenant_id == tenant_id)
    with database().read() as tx:
        open_now = tx.execute(commands.where(Command.due_at.is_not(None)))
        for status, priority, count, first in open_now:
            depth.add_metric([status, priority or "normal"], count)
            waited = (tx.now - first).total_seconds()
            oldest.add_metric([status, priority or "normal"], max(waited, 0))
        fired = tx.scalar(due.where(ScanSchedule.next_run_at <= tx.now)) or tx.now
        lag.add_metric([], (tx.now - fired).total_seconds())
    registry = prometheus.CollectorRegistry()
    registry.register(_Standing(depth, oldest, lag))
    return prometheus.generate_latest(registry)
