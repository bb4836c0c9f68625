"""Hears what any process of the server announces, on a PostgreSQL connection of its own.

A lost connection is opened again for as long as it takes. What was announced in between is gone,
so everybody is nudged then.
"""

import logging
import time
from contextlib import suppress
from typing import Any, Final

import psycopg

from rediver_server.db import CHANNEL
from rediver_server.gateway import Gateway
from rediver_server.nudges import from_text
from rediver_server.settings import parsed_url

log = logging.getLogger(__name__)

_QUIET_SECONDS: Final = 20  # then a query finds out whether anybody is still there
_LIMITS: Final[dict[str, Any]] = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
_LONGEST_PAUSE: Final = 30


def listen(url: str, gateway: Gateway) -> None:
    """Pass announcements on, for as long as the process lives."""
    address = parsed_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    pause = 1
    while True:
        try:
            with psycopg.connect(address, autocommit=True, **_LIMITS) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                gateway.nudge_all()
                pause = 1
                while True:
                    for notice in connection.notifies(timeout=_QUIET_SECONDS):
                        with suppress(ValueError):  # a nudge of a newer version, or none at all
                            gateway.deliver(from_text(notice.payload))
                    connection.execute("SELECT 1")
        except psycopg.Error as fault:
            log.warning("nudges are left to polling for now, PostgreSQL said: %s", fault)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
