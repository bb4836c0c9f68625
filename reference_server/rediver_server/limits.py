"""How often: a tenant's creations, counted in the database; all else by each process for itself.

A bucket is empty after a burst and fills again evenly: when it is full is all there is to know of
it. A refusal takes nothing and says when to come back. A rate of 0 is off.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from ipaddress import ip_address
from math import ceil
from typing import Final, cast

from flask import current_app, request

from rediver_agent.contract import ErrorCode, routes
from rediver_server.db import Transaction
from rediver_server.errors import ApiError
from rediver_server.models import CreationBucket
from rediver_server.settings import Settings

EXTENSION: Final = "rediver.rates"
_DIGITS: Final = 3  # of a second: sums of many floats are not exact, and a wait must be enough


class Buckets:
    """One for every name, in this process. Those that are full again are forgotten."""

    def __init__(self, per_minute: int, burst: int, seconds: Callable[[], float]) -> None:
        self.per_minute, self.burst = per_minute, burst
        self.every = 60 / per_minute if per_minute else 0.0
        self._seconds = seconds
        self._full_at: dict[str, float] = {}  # by last use
        self._lock = threading.Lock()

    def after(self, full_at: float, now: float, count: int) -> tuple[float, int]:
        """When a bucket is full once `count` is taken of it, and the wait until that fits."""
        full_at = max(full_at, now) + count * self.every
        return full_at, max(0, ceil(round(full_at - now - self.burst * self.every, _DIGITS)))

    def take(self, name: str) -> None:
        """Count one use. Raises 429."""
        with self._lock:
            now = self._seconds()
            while self._full_at and self._full_at[next(iter(self._full_at))] <= now:
                del self._full_at[next(iter(self._full_at))]
            full_at, wait = self.after(self._full_at.get(name, now), now, 1)
            if not wait:
                self._full_at.pop(name, None)
                self._full_at[name] = full_at
        if wait:
            raise _too_often(f"more than {self.per_minute} a minute", wait)


class Rates:
    """What one application allows: put it under `EXTENSION`."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] | None) -> None:
        now = time.monotonic if clock is None else lambda: clock().timestamp()
        beats, failures = settings.heartbeats_per_minute, settings.failed_keys_per_minute
        self.creations = Buckets(settings.creations_per_minute, settings.creations_burst, now)
        self.ingests = Buckets(settings.ingests_per_minute, settings.ingests_burst, now)
        self.heartbeats = Buckets(beats, beats, now)
        self.failed_keys = Buckets(failures, failures, now)


def rates() -> Rates:
    """Those of the application that answers this request."""
    return cast("Rates", current_app.extensions[EXTENSION])


def sender() -> str:
    """Who sent the request, by address; IPv6 by its /64, of which one customer has them all."""
    try:
        address = ip_address(request.remote_addr or "")
    except ValueError:  # a trusted proxy sent no address
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(int(address) >> 64 if address.version == 6 and not mapped else mapped or address)


def spend(tx: Transaction, tenant_id: str, count: int) -> dict[str, str]:
    """Count so many creations. Returns the headers that say what is left; raises 429."""
    rate = rates().creations
    if not rate.per_minute:
        return {}
    tx.one_at_a_time(f"creations of {tenant_id}")
    bucket, now = tx.get(CreationBucket, tenant_id), tx.now.timestamp()
    bucket = bucket or CreationBucket(tenant_id=tenant_id, tokens=rate.burst, filled_at=tx.now)
    before = bucket.filled_at.timestamp() + (rate.burst - bucket.tokens) * rate.every
    full_at, wait = rate.after(before, now, count)
    reset = round((max(before, now) if wait else full_at) - now, _DIGITS)
    bucket.tokens, bucket.filled_at = rate.burst - reset / rate.every, tx.now
    tx.add(bucket)
    told = {
        routes.RATE_LIMIT: str(rate.per_minute),
        routes.RATE_REMAINING: str(int(round(bucket.tokens, _DIGITS))),
        routes.RATE_RESET: str(ceil(reset)),
    }
    if wait:
        never = f"; {count} never fit, send fewer" if count > rate.burst else ""
        much = f"{rate.per_minute} commands a minute may be created, {rate.burst} at once{never}"
        raise _too_often(much, wait, **told)
    return told


def _too_often(much: str, wait: int, **headers: str) -> ApiError:
    told = {**headers, routes.RETRY_AFTER: str(wait)}
    return ApiError(ErrorCode.RATE_LIMITED, f"{much}; try again in {wait} s", headers=told)
