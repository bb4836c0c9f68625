"""`/api/v1/commands`: what agents poll, claim and answer, and what operators order and read."""

from typing import Annotated, Literal

from flask import Blueprint, Response, current_app
from pydantic import AfterValidator, Field
from sqlalchemy import or_, select

from rediver_agent import contract
from rediver_agent.contract import routes
from rediver_agent.contract.base import Id
from rediver_agent.contract.commands import Cancelling, TypeName
from rediver_server import command_queue, command_views, orders
from rediver_server.auth import caller, calling_source, requires
from rediver_server.capabilities import offered_to
from rediver_server.db import Database, Transaction, database
from rediver_server.errors import ApiError, not_found
from rediver_server.http_json import read_body, read_query, reply, rule
from rediver_server.models import Command, CommandEvent, Role
from rediver_server.pages import PageQuery, page

blueprint = Blueprint("commands", __name__)


def _split(types: str) -> str:
    if not all(name.isidentifier() and name.islower() for name in types.split(",")):
        raise ValueError("types is command types with commas between them")
    return types


class PollQuery(contract.WireModel):
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    status: Literal["pending"] = "pending"
    types: Annotated[str, Field(max_length=2000), AfterValidator(_split)] | None = None


class CommandsQuery(PageQuery):
    status: contract.CommandStatus | None = None
    type: TypeName | None = None
    source_id: Id | None = None
    schedule_id: Id | None = None
    created_after: contract.UtcDatetime | None = None
    created_before: contract.UtcDatetime | None = None


@blueprint.get(rule(routes.COMMANDS))
@requires(Role.SOURCE, Role.VIEWER)
def list_commands() -> Response:
    settle(database())
    return _poll() if caller().role is Role.SOURCE else _list()


@blueprint.post(rule(routes.COMMANDS))
@requires(Role.OPERATOR)
def create_command() -> Response:
    order = read_body(contract.CommandCreate)
    orders.check_payload(order)
    with database().write() as tx:
        command = orders.place(tx, caller().tenant_id, caller().actor, order)
        (whole,) = command_views.for_operators(tx, [command])
    return reply(whole, 201, Location=routes.COMMAND.format(id=command.id))


@blueprint.get(rule(routes.COMMAND))
@requires(Role.VIEWER)
def get_command(item: str) -> Response:
    settle(database())
    with database().read() as tx:
        command = _mine(tx, item)
        (whole,) = command_views.for_operators(tx, [command])
    return reply(whole)


@blueprint.get(rule(routes.COMMAND_EVENTS))
@requires(Role.VIEWER)
def get_events(item: str) -> Response:
    settle(database())
    with database().read() as tx:
        trail = select(CommandEvent).where(CommandEvent.command_id == _mine(tx, item).id)
        rows = tx.scalars(trail.order_by(CommandEvent.id)).all()
    return reply({"events": [command_views.event(row) for row in rows]})


@blueprint.delete(rule(routes.COMMAND))
@requires(Role.OPERATOR)
def cancel_command(item: str) -> Response:
    with database().write() as tx:
        command = _mine(tx, item)
        outcome = command_queue.cancel(tx, caller().actor, command)
        (whole,) = command_views.for_operators(tx, [command])
    if outcome is Cancelling.ALREADY_FINISHED:
        raise ApiError(contract.ErrorCode.COMMAND_FINISHED, f"{item} is {command.status} already")
    return reply(whole)


@blueprint.post(rule(routes.COMMAND_ACKNOWLEDGE))
@blueprint.post(rule(routes.COMMAND_ACK))
@requires(Role.SOURCE)
def acknowledge(item: str) -> Response:
    said = read_body(contract.Acknowledge)
    with database().write() as tx:
        command = command_queue.acknowledge(tx, calling_source(tx), item, said.instance_id)
    return reply(
        contract.Acknowledged(
            acknowledged=True,
            command_id=command.id,
            attempt=command.attempt,
            lease_expires_at=command.lease_expires_at,
        )
    )


@blueprint.post(rule(routes.COMMAND_PROGRESS))
@requires(Role.SOURCE)
def progress(item: str) -> Response:
    said = read_body(contract.Progress)
    with database().write() as tx:
        command = command_queue.record_progress(tx, calling_source(tx), item, said)
    asked = command.cancel_requested_at is not None
    return reply(
        contract.ProgressReply(lease_expires_at=command.lease_expires_at, cancel_requested=asked)
    )


@blueprint.post(rule(routes.COMMAND_RESULT))
@requires(Role.SOURCE)
def result(item: str) -> Response:
    said = read_body(contract.CommandResult)
    with database().write() as tx:
        command = command_queue.record_result(tx, calling_source(tx), item, said)
    return reply(contract.ResultReply(accepted=True, command_id=item, status=command.status))


def settle(db: Database) -> None:
    """Settle what is overdue. Takes the writer lock only if something is."""
    with db.read() as tx:
        if not command_queue.anything_overdue(tx):
            return
    with db.write() as tx:
        while command_queue.settle_overdue(tx):
            pass


def _poll() -> Response:
    query = read_query(PollQuery)
    with database().read() as tx:
        now = tx.now
        source = calling_source(tx)
        wanted = select(Command).where(
            offered_to(source),
            Command.status == contract.CommandStatus.PENDING,
            or_(Command.expires_at.is_(None), Command.expires_at > now),
            or_(Command.scheduled_at.is_(None), Command.scheduled_at <= now),
        )
        if query.types is not None:
            wanted = wanted.where(Command.type.in_(query.types.split(",")))
        ordered = wanted.order_by(Command.queue_rank, Command.created_at).limit(query.limit)
        rows = () if source.paused else tx.scalars(ordered).all()
    return reply(
        {
            "commands": [command_views.for_agent(row) for row in rows],
            "poll_interval_seconds": current_app.config["POLL_INTERVAL_SECONDS"],
        }
    )


def _list() -> Response:
    query = read_query(CommandsQuery)
    wanted = select(Command).where(Command.tenant_id == caller().tenant_id)
    for name in ("status", "type", "source_id", "schedule_id"):
        if (value := getattr(query, name)) is not None:
            wanted = wanted.where(getattr(Command, name) == value)
    if query.created_after is not None:
        wanted = wanted.where(Command.created_at > query.created_after)
    if query.created_before is not None:
        wanted = wanted.where(Command.created_at < query.created_before)
    with database().read() as tx:
        rows, cursor = page(tx, wanted, Command.created_at, Command.id, query)
        shown = command_views.for_operators(tx, rows)
    return reply({"commands": shown, "next_cursor": cursor})


def _mine(tx: Transaction, command_id: str) -> Command:
    mine = (Command.id == command_id, Command.tenant_id == caller().tenant_id)
    command = tx.scalar(select(Command).where(*mine).with_for_update())
    if command is None:
        raise not_found("command")
    return command
