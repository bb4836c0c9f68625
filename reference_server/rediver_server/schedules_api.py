"""`/api/v1/scan-schedules`: what operators have scanned by the clock."""

from itertools import islice
from zoneinfo import ZoneInfo

from flask import Blueprint, Response
from sqlalchemy import select

from rediver_agent import contract
from rediver_agent.contract import routes
from rediver_agent.contract.queries import PageQuery, UpcomingQuery
from rediver_server import command_views, limits, orders, schedule_times, schedules
from rediver_server.auth import caller, requires
from rediver_server.db import Transaction, database
from rediver_server.errors import not_found
from rediver_server.http_json import no_content, read_body, read_query, reply, rule
from rediver_server.idempotency import Made, creating
from rediver_server.models import Role, ScanSchedule, new_id
from rediver_server.pages import page

blueprint = Blueprint("schedules", __name__)


@blueprint.post(rule(routes.SCHEDULES))
@requires(Role.OPERATOR)
def create_schedule() -> Response:
    wanted = read_body(contract.ScheduleCreate)

    def create(tx: Transaction) -> Made:
        known = {"id": new_id("sch"), "tenant_id": caller().tenant_id, "created_at": tx.now}
        schedule = ScanSchedule(**known, **wanted.model_dump())
        _check(tx, schedule, set(contract.ScheduleCreate.model_fields))
        tx.add(schedule)
        shown = _view(schedule).model_dump(mode="json")
        return Made(shown, routes.SCHEDULE.format(id=schedule.id))

    return creating(create)


@blueprint.get(rule(routes.SCHEDULES))
@requires(Role.VIEWER)
def list_schedules() -> Response:
    query, rows = read_query(PageQuery), ScanSchedule
    mine = select(rows).where(rows.tenant_id == caller().tenant_id)
    with database().read() as tx:
        found, cursor = page(tx, mine, rows.created_at, rows.id, query)
    shown = [_view(row) for row in found]
    return reply(contract.ScheduleList(schedules=shown, next_cursor=cursor))


@blueprint.get(rule(routes.SCHEDULE))
@requires(Role.VIEWER)
def get_schedule(item: str) -> Response:
    with database().read() as tx:
        return reply(_view(_mine(tx, item)))


@blueprint.patch(rule(routes.SCHEDULE))
@requires(Role.OPERATOR)
def patch_schedule(item: str) -> Response:
    changes = read_body(contract.SchedulePatch).model_dump(exclude_unset=True)
    with database().write() as tx:
        schedule = _mine(tx, item)
        changed = {name for name, value in changes.items() if getattr(schedule, name) != value}
        for name in changed:
            setattr(schedule, name, changes[name])
        _check(tx, schedule, changed)
    return reply(_view(schedule))


@blueprint.delete(rule(routes.SCHEDULE))
@requires(Role.OPERATOR)
def delete_schedule(item: str) -> Response:
    """Its commands stay."""
    with database().write() as tx:
        tx.delete(_mine(tx, item))
    return no_content()


@blueprint.post(rule(routes.SCHEDULE_RUN))
@requires(Role.OPERATOR)
def run_schedule(item: str) -> Response:
    """Now, whatever its fire times, its overlap and its being enabled say."""
    read_body(contract.WireModel)  # there is nothing to say

    def create(tx: Transaction) -> Made:
        schedule = _mine(tx, item)
        tenant_id, wanted = schedule.tenant_id, schedules.order(schedule)
        command = orders.place(tx, tenant_id, caller().actor, wanted, schedule_id=schedule.id)
        schedule.last_run_at = tx.now
        (whole,) = command_views.for_operators(tx, [command])
        headers = limits.spend(tx, tenant_id, 1)
        return Made(whole, routes.COMMAND.format(id=command.id), headers=headers)

    return creating(create)


@blueprint.get(rule(routes.SCHEDULE_UPCOMING))
@requires(Role.VIEWER)
def get_upcoming(item: str) -> Response:
    """Of a disabled one when it would fire."""
    query = read_query(UpcomingQuery)
    with database().read() as tx:
        schedule = _mine(tx, item)
    zone = ZoneInfo(schedule.timezone or "UTC")
    ahead = schedule_times.fires(schedule.cron_expression, zone, tx.now)
    return reply(contract.Upcoming(upcoming=list(islice(ahead, query.count))))


def _mine(tx: Transaction, item: str) -> ScanSchedule:
    mine = (ScanSchedule.id == item, ScanSchedule.tenant_id == caller().tenant_id)
    schedule = tx.scalar(select(ScanSchedule).where(*mine).with_for_update())
    if schedule is None:
        raise not_found("schedule")
    return schedule


def _view(schedule: ScanSchedule) -> contract.Schedule:
    return contract.Schedule.model_validate(schedule, from_attributes=True)


def _check(tx: Transaction, schedule: ScanSchedule, changed: set[str]) -> None:
    """Look at what was changed, and set the next fire time anew if that is. Raises 400 and 404."""
    schedule.updated_at = tx.now
    enabling = schedule.enabled and "enabled" in changed
    if schedule.source_id and (enabling or "source_id" in changed):
        orders.check_source(tx, schedule.tenant_id, schedule.source_id)
    if changed & {"cron_expression", "timezone", "enabled"}:  # else one just due would be lost
        zone = schedule_times.known_zone(schedule.timezone or "")
        following = next(schedule_times.fires(schedule.cron_expression, zone, tx.now))
        schedule.next_run_at = following if schedule.enabled else None
