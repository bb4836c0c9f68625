"""`/api/v1/sources`: the agents of a tenant and their keys."""

from flask import Blueprint, Response
from sqlalchemy import select, update
from sqlalchemy.orm import selectinload

from rediver_agent.contract import ErrorCode, KeyCreate, SourceCreate, SourcePatch, routes
from rediver_agent.contract.queries import PageQuery
from rediver_server import command_queue, sources
from rediver_server.auth import caller, new_key, requires
from rediver_server.db import Transaction, database
from rediver_server.errors import ApiError, invalid, not_found
from rediver_server.http_json import no_content, read_body, read_query, reply, rule
from rediver_server.idempotency import Made, creating
from rediver_server.models import ApiKey, Role, Source
from rediver_server.nudges import Nudge
from rediver_server.pages import page

MAX_LIVE_KEYS = 2

blueprint = Blueprint("sources", __name__)


@blueprint.post(rule(routes.SOURCES))
@requires(Role.ADMIN)
def create_source() -> Response:
    wanted = read_body(SourceCreate)

    def create(tx: Transaction) -> Made:
        made = sources.create(tx, caller().tenant_id, wanted)
        return Made(made, routes.SOURCE.format(id=made["id"]), secret=True)

    return creating(create)


@blueprint.get(rule(routes.SOURCES))
@requires(Role.VIEWER)
def list_sources() -> Response:
    query = read_query(PageQuery)
    mine = (
        select(Source)
        .where(Source.tenant_id == caller().tenant_id, Source.deleted_at.is_(None))
        .options(selectinload(Source.keys))
    )
    with database().read() as tx:
        rows, cursor = page(tx, mine, Source.created_at, Source.id, query)
    return reply({"sources": [sources.view(row, tx.now) for row in rows], "next_cursor": cursor})


@blueprint.get(rule(routes.SOURCE))
@requires(Role.VIEWER)
def get_source(item: str) -> Response:
    with database().read() as tx:
        return reply(sources.view(_mine(tx, item), tx.now))


@blueprint.patch(rule(routes.SOURCE))
@requires(Role.ADMIN)
def patch_source(item: str) -> Response:
    patch = read_body(SourcePatch)
    with database().write() as tx:
        source = _mine(tx, item)
        source.paused = patch.paused
        if not source.paused:
            tx.announce(Nudge("command_available", source.tenant_id, source.id))
        return reply(sources.view(source, tx.now))


@blueprint.delete(rule(routes.SOURCE))
@requires(Role.ADMIN)
def delete_source(item: str) -> Response:
    with database().write() as tx:
        source = _mine_alone(tx, item)
        source.deleted_at = tx.now
        theirs = (ApiKey.source_id == item, ApiKey.revoked_at.is_(None))
        tx.execute(update(ApiKey).where(*theirs).values(revoked_at=tx.now))
        command_queue.release_source(tx, caller().actor, source)
        tx.announce(Nudge("keys_ended", source.tenant_id, source.id))
    return no_content()


@blueprint.post(rule(routes.SOURCE_KEYS))
@requires(Role.ADMIN)
def create_key(item: str) -> Response:
    wanted = read_body(KeyCreate)

    def create(tx: Transaction) -> Made:
        source = _mine_alone(tx, item)
        if wanted.expires_at is not None and wanted.expires_at <= tx.now:
            raise invalid("expires_at", "is in the past")
        if sources.live_keys(source, tx.now) >= MAX_LIVE_KEYS:
            raise ApiError(ErrorCode.CONFLICT, "two keys are live already; delete one first")
        row, key = new_key(
            source.tenant_id, Role.SOURCE, tx.now, source_id=item, expires_at=wanted.expires_at
        )
        tx.add(row)
        names = ("id", "api_key_prefix", "created_at", "expires_at")
        shown = {"api_key": key, **{name: getattr(row, name) for name in names}}
        return Made(shown, routes.SOURCE_KEY.format(id=item, key_id=row.id), secret=True)

    return creating(create)


@blueprint.delete(rule(routes.SOURCE_KEY))
@requires(Role.ADMIN)
def delete_key(item: str, key: str) -> Response:
    with database().write() as tx:
        row = next((row for row in _mine(tx, item).keys if row.id == key), None)
        if row is None:
            raise not_found("key")
        row.revoked_at = row.revoked_at or tx.now
        tx.announce(Nudge("keys_ended", caller().tenant_id, item))
    return no_content()


def _mine_alone(tx: Transaction, source_id: str) -> Source:
    """With no other change of its keys beside this one, and nothing put down for it."""
    tx.execute(select(Source.id).where(Source.id == source_id).with_for_update())
    return _mine(tx, source_id)


def _mine(tx: Transaction, source_id: str) -> Source:
    mine = (Source.id == source_id, Source.tenant_id == caller().tenant_id)
    source = tx.scalar(select(Source).where(*mine, Source.deleted_at.is_(None)))
    if source is None:
        raise not_found("source")
    return source
