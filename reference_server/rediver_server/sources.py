"""Sources: how they come to be, what they have said, and how they look to operators."""

from datetime import datetime
from typing import Any, Final

from rediver_agent.contract import Heartbeat, SourceCreate, dump
from rediver_agent.contract.sources import STALE_AFTER, status_at
from rediver_server.auth import is_live, new_key
from rediver_server.db import Transaction
from rediver_server.models import Role, Source, new_id

_SHOWN: Final = (
    *("id", "name", "type", "description", "capabilities", "paused"),
    *("created_at", "last_seen_at", "heartbeat"),
)
_SHOWN_OF_A_KEY: Final = (
    *("id", "api_key_prefix", "created_at", "expires_at", "revoked_at", "last_used_at"),
)


def create(tx: Transaction, tenant_id: str, wanted: SourceCreate) -> dict[str, Any]:
    """A source and its first key, as `POST /sources` answers: the only time the key is shown."""
    source = Source(
        id=new_id("src"),
        tenant_id=tenant_id,
        name=wanted.name,
        type=wanted.type,
        description=wanted.description,
        capabilities=wanted.capabilities,
        properties=wanted.metadata,
        created_at=tx.now,
        instances={},
    )
    row, key = new_key(tenant_id, Role.SOURCE, tx.now, source_id=source.id)
    tx.add(source)
    tx.flush()  # no relationship tells the session that the key needs its source first
    tx.add(row)
    return {
        "id": source.id,
        "api_key": key,
        "api_key_prefix": row.api_key_prefix,
        "name": source.name,
        "type": source.type,
        "status": status_at(source.last_seen_at, tx.now),
        "created_at": tx.now,
    }


def live_keys(source: Source, now: datetime) -> int:
    """How many keys of the source open something."""
    return sum(is_live(key, now) for key in source.keys)


def heard(source: Source, now: datetime, heartbeat: Heartbeat) -> None:
    """Keep a heartbeat as the newest word of its source."""
    source.last_seen_at = now
    source.heartbeat = dump(heartbeat.model_copy(update={"running": None}))
    if heartbeat.instance_id is not None:
        others = _live_instances(source, now)
        others.pop(heartbeat.instance_id, None)
        stopped = heartbeat.status == "stopped"
        source.instances = others if stopped else {**others, heartbeat.instance_id: now.isoformat()}


def view(source: Source, now: datetime) -> dict[str, Any]:
    """A source as operators read it. `conflict`: two live agents use its keys."""
    return {
        **{name: getattr(source, name) for name in _SHOWN},
        "metadata": source.properties,
        "status": status_at(source.last_seen_at, now),
        "conflict": len(_live_instances(source, now)) > 1,
        "keys": [{name: getattr(key, name) for name in _SHOWN_OF_A_KEY} for key in source.keys],
    }


def _live_instances(source: Source, now: datetime) -> dict[str, str]:
    stale = now - STALE_AFTER
    return {who: at for who, at in source.instances.items() if datetime.fromisoformat(at) > stale}
