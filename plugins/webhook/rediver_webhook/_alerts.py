"""The alert in a delivery, as a finding with its asset. What an alert means is rediver-github's."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from rediver_agent import Asset
from rediver_agent.contract import Finding
from rediver_github.alerts import AlertUnreadable, Kind, asset, finding, repository
from rediver_webhook._delivery import Delivery, Refused

KINDS: Final = {
    "code_scanning_alert": Kind.CODE_SCANNING,
    "dependabot_alert": Kind.DEPENDABOT,
    "secret_scanning_alert": Kind.SECRET_SCANNING,
}
# What an action makes of an alert that does not say its state itself.
_STATES: Final = {
    "created": "open",
    "appeared_in_branch": "open",
    "reopened": "open",
    "reopened_by_user": "open",
    "auto_reopened": "open",
    "reintroduced": "open",
    "publicly_leaked": "open",
    "fixed": "fixed",
    "resolved": "resolved",
    "revoked": "resolved",
    "dismissed": "dismissed",
    "closed_by_user": "dismissed",
    "auto_dismissed": "auto_dismissed",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of one repository, as it is now."""

    repository: str
    asset: Asset
    finding: Finding
    identity: str
    updated_at: datetime | None
    """When GitHub changed it last, where that is known."""


def alert_in(delivery: Delivery) -> Alert | None:
    """The alert of a delivery; None where the event is about something else.

    Raises `Refused` where there should be one and is none.
    """
    kind = KINDS.get(delivery.event)
    if kind is None:
        return None
    alert, where = (_object(delivery.payload.get(name)) for name in ("alert", "repository"))
    if alert is None or where is None:
        raise Refused(422, "no alerts", f"{delivery.event} without an alert and its repository")
    try:
        of = repository(where)
        found = finding(kind, alert, of)
        if found.status is None:
            action = delivery.payload.get("action")
            state = _STATES.get(action) if isinstance(action, str) else None
            found = finding(kind, {**alert, "state": state}, of)
        place = asset(of)
    except AlertUnreadable as fault:
        raise Refused(422, "no alerts", str(fault)) from fault
    except ValueError as fault:  # pydantic's: a name that is too long for an asset
        raise Refused(422, "no alerts", "the repository cannot be an asset") from fault
    return Alert(
        repository=of.full_name,
        asset=place,
        finding=found,
        identity=of.identity(kind, alert["number"]),
        updated_at=_as_of(alert, delivery.payload.get("action")),
    )


def _object(value: object) -> Mapping[str, Any] | None:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def _as_of(alert: Mapping[str, Any], action: object) -> datetime | None:
    """When GitHub changed it last. Where it does not say so: when it was closed, or made if it is
    new. One that was opened again says nothing of when.
    """
    closed = ("fixed_at", "dismissed_at", "resolved_at")
    for names in (("updated_at",), closed, ("created_at",) if action == "created" else ()):
        moments = [moment for name in names if (moment := _moment(alert.get(name)))]
        if moments:
            return max(moments)
    return None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment and moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
