"""`/api/v1/ingest/heartbeat`: what an agent can do and holds; the reply says what to let go."""

from flask import Blueprint, Response

from rediver_agent.contract import Heartbeat, HeartbeatReply, routes
from rediver_server import command_queue, sources
from rediver_server.auth import caller, calling_source, requires
from rediver_server.db import database
from rediver_server.http_json import read_body, reply, rule
from rediver_server.limits import rates
from rediver_server.models import Role

blueprint = Blueprint("heartbeat", __name__)


@blueprint.post(rule(routes.HEARTBEAT))
@requires(Role.SOURCE)
def heartbeat() -> Response:
    rates().heartbeats.take(caller().actor)
    said = read_body(Heartbeat)
    with database().write() as tx:
        source = calling_source(tx)
        sources.heard(source, tx.now, said)
        cancel, lost = command_queue.renew(tx, source, said.running or ())
    return reply(HeartbeatReply(success=True, server_time=tx.now, cancel=cancel, lost=lost))
