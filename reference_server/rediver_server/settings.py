"""What an operator can set: flags over `REDIVER_SERVER_*` over the defaults here."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DEFAULT_DATABASE_URL: Final = "sqlite:///rediver.db"
_POSTGRESQL: Final = ("postgres", "postgresql", "postgresql+psycopg")


def _known_database(url: str) -> str:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # of a port that is no number
        raise ValueError("write it like sqlite:////var/lib/rediver/rediver.db") from None
    if parsed.drivername in _POSTGRESQL:
        return url
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(
            f"{parsed.drivername} is not supported: use sqlite:///<file> or postgresql://<address>"
        )
    if parsed.database in (None, "", ":memory:"):
        raise ValueError("a database in memory keeps nothing, name a file: sqlite:///<file>")
    return url


def parsed_url(url: str) -> URL:
    """The address of a database that the settings have accepted, with the driver that is used."""
    parsed = make_url(url)
    return parsed if is_sqlite(url) else parsed.set(drivername="postgresql+psycopg")


def is_sqlite(url: str) -> bool:
    """Whether the database is a file of this machine, which one process serves."""
    return make_url(url).get_backend_name() == "sqlite"


def _renews_leases(rate: int) -> int:
    if rate and rate < 60:
        raise ValueError("0 is off, else at least 60: heartbeats renew leases")
    return rate


DatabaseUrl = Annotated[str, AfterValidator(_known_database)]
Rate = Annotated[int, Field(ge=0, description="0 is off")]
Days = Annotated[int, Field(ge=0, description="0 keeps them forever")]


class Settings(BaseSettings):
    """Times are seconds, as on the wire. `listen_url` is for a pooler that cannot LISTEN."""

    model_config = SettingsConfigDict(env_prefix="REDIVER_SERVER_", frozen=True)

    database_url: DatabaseUrl = DEFAULT_DATABASE_URL
    listen_url: DatabaseUrl | None = None
    database_connections: Annotated[int, Field(ge=2, le=256)] = 16
    max_sockets: Annotated[int, Field(ge=1, le=100_000)] = 6000
    ping_seconds: Annotated[float, Field(gt=0, le=300)] = 25
    poll_interval_seconds: Annotated[float, Field(ge=1, le=300)] = 30
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    log_format: Literal["json", "text"] = "text"
    metrics_token: SecretStr | None = None

    creations_per_minute: Rate = 60
    creations_burst: Annotated[int, Field(ge=1)] = 120
    ingests_per_minute: Rate = 600
    ingests_burst: Annotated[int, Field(ge=1)] = 100
    heartbeats_per_minute: Annotated[int, AfterValidator(_renews_leases)] = 120
    failed_keys_per_minute: Rate = 30

    keep_finished_commands_days: Days = 90
    keep_audit_days: Days = 90
    keep_late_results_days: Days = 30
    keep_resolved_findings_days: Days = 365
