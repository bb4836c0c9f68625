"""`/api/v1/commands`: what agents poll, claim and answer, and what operators order and read."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from flask import Blueprint, Response, current_app
from pydantic import ValidationError
from sqlalchemy import select

from rediver_agent import contract
from rediver_agent.contract import routes
from rediver_agent.contract.base import JsonObject
from rediver_agent.contract.commands import Cancelling
from rediver_agent.contract.queries import CommandsQuery, PollQuery
from rediver_server import claims, command_queue, command_views, limits, orders
from rediver_server.auth import caller, calling_source, requires
from rediver_server.db import KEPT, Database, Transaction, database
from rediver_server.errors import ApiError, detail_of, from_validation, invalid, not_found
from rediver_server.http_json import read_body, read_query, reply, rule
from rediver_server.idempotency import Made, creating, once
from rediver_server.models import Command, CommandEvent, Role, Source
from rediver_server.pages import page

blueprint = Blueprint("commands", __name__)


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

    def create(tx: Transaction) -> Made:
        made = _placed(tx, order)
        return replace(made, headers=limits.spend(tx, caller().tenant_id, 1))

    return creating(create)


@blueprint.post(rule(routes.COMMANDS_BATCH))
@requires(Role.OPERATOR)
def create_commands() -> Response:
    """Each item by itself, all in one transaction. What the rate refuses, it refuses whole."""
    batch = read_body(contract.CommandBatch)

    def create(tx: Transaction) -> Made:
        outcomes: dict[int, dict[str, Any]] = {}
        placed: list[Made] = []
        for number, item in sorted(enumerate(batch.commands), key=_by_what_it_locks):
            try:
                made = _ordered_once(tx, item, placed)
                outcomes[number] = {"status": 201, "command": made.document}
            except ApiError as fault:  # raised before anything of the item was written
                outcomes[number] = {"status": fault.status, "error": detail_of(fault)}
        spent = limits.spend(tx, caller().tenant_id, len(placed))
        return Made({"results": [outcomes[n] for n in sorted(outcomes)]}, headers=spent)

    return creating(create)


@blueprint.post(rule(routes.COMMANDS_CANCEL))
@requires(Role.OPERATOR)
def cancel_commands() -> Response:
    """Cancels a batch in each transaction, so that others get a turn between them."""
    wanted = read_body(contract.BulkCancel)
    counts: Counter[Cancelling] = Counter()
    chosen = wanted.model_dump(exclude_none=True)
    while True:
        with database().write() as tx:
            done = command_queue.cancel_some(tx, caller().actor, caller().tenant_id, chosen)
        if not done:
            break
        counts.update(done)
    cancelled, requested = counts[Cancelling.CANCELLED], counts[Cancelling.REQUESTED]
    return reply(contract.BulkCancelReply(cancelled=cancelled, requested=requested))


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
        command = _mine(tx, item, with_for_update=True)
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
        source = calling_source(tx, with_for_update=KEPT)
        command = command_queue.acknowledge(tx, source, item, said.instance_id)
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
        source = calling_source(tx)
        found = command_queue.reachable(tx, source, [item]).get(item)
        command = command_queue.record_result(tx, source, found, said)
    return reply(contract.ResultReply(accepted=True, command_id=item, status=command.status))


@blueprint.post(rule(routes.COMMANDS_CLAIM))
@requires(Role.SOURCE)
def claim() -> Response:
    wanted = read_body(contract.Claim)
    settle(database())
    with database().write() as tx:
        held = claims.claim(tx, calling_source(tx), wanted)
    return _handed([command_views.for_holder(command) for command in held])


@blueprint.post(rule(routes.COMMANDS_RESULTS))
@requires(Role.SOURCE)
def results() -> Response:
    batch = read_body(contract.ResultBatch)
    with database().write() as tx:
        source = calling_source(tx)
        ids = {str(item.get("command_id")) for item in batch.results}
        found = command_queue.reachable(tx, source, ids)
        outcomes = [_outcome(tx, source, found, item) for item in batch.results]
    return reply(contract.ResultBatchReply(results=outcomes))


def settle(db: Database) -> None:
    """Settle what is overdue, some in each transaction. Only then is there a writer's lock."""
    with db.read() as tx:
        settled: int = command_queue.anything_overdue(tx)
    while settled:
        with db.write() as tx:
            settled = command_queue.settle_overdue(tx)


def _poll() -> Response:
    query = read_query(PollQuery)
    types = None if query.types is None else query.types.split(",")
    with database().read() as tx:
        rows = claims.offered(tx, calling_source(tx), query.limit, types)
    return _handed([command_views.for_agent(row) for row in rows])


def _handed(commands: list[dict[str, Any]]) -> Response:
    interval = cast("float", current_app.config["POLL_INTERVAL_SECONDS"])
    return reply({"commands": commands, "poll_interval_seconds": interval})


def _outcome(
    tx: Transaction, source: Source, found: Mapping[str, Command], item: JsonObject
) -> contract.ResultOutcome:
    """What the single call would say of one result."""
    command_id = item.get("command_id")
    said = {name: value for name, value in item.items() if name != "command_id"}
    try:
        if not isinstance(command_id, str):
            raise invalid("command_id", "required")
        result = contract.parse_strict(contract.CommandResult, said)
        command_queue.record_result(tx, source, found.get(command_id), result)
    except ValidationError as fault:
        error = from_validation(fault)
    except ApiError as fault:
        error = fault
    else:
        return contract.ResultOutcome(command_id=command_id, status=200)
    named = command_id if isinstance(command_id, str) else ""
    return contract.ResultOutcome(command_id=named, status=error.status, error=detail_of(error))


def _ordered_once(tx: Transaction, item: JsonObject, placed: list[Made]) -> Made:
    """One item of a batch, under its own key if it names one; added to `placed` if it is new."""
    body = {name: value for name, value in item.items() if name != "idempotency_key"}
    try:
        order = contract.parse_strict(contract.CommandCreate, body)
    except ValidationError as fault:
        raise from_validation(fault) from fault
    orders.check_payload(order)

    def create(tx: Transaction) -> Made:
        placed.append(_placed(tx, order))
        return placed[-1]

    key = item.get("idempotency_key")
    if key is None:
        return create(tx)
    if not isinstance(key, str):
        raise invalid("idempotency_key", "is text")
    return once(tx, key, routes.COMMANDS, body, create)


def _by_what_it_locks(numbered: tuple[int, JsonObject]) -> str:
    """Cancels by the id of their command, as all lock commands, so that none deadlock."""
    return str(numbered[1].get("payload")) if numbered[1].get("type") == "cancel" else ""


def _placed(tx: Transaction, order: contract.CommandCreate) -> Made:
    command = orders.place(tx, caller().tenant_id, caller().actor, order)
    (whole,) = command_views.for_operators(tx, [command])
    return Made(whole, routes.COMMAND.format(id=command.id))


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


def _mine(tx: Transaction, command_id: str, **options: Any) -> Command:
    command = tx.get(Command, command_id, **options)
    if command is None or command.tenant_id != caller().tenant_id:
        raise not_found("command")
    return command
