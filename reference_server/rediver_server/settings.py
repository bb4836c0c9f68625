"""What an operator can set: flags over `REDIVER_SERVER_*` over the defaults here."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

DEFAULT_DATABASE_URL: Final = "sqlite:///rediver.db"


def _sqlite_file(url: str) -> str:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("write it like sqlite:////var/lib/rediver/rediver.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise ValueError(f"{parsed.get_backend_name()} is not supported, use sqlite:///<file>")
    if parsed.database in (None, "", ":memory:"):
        raise ValueError("a database in memory keeps nothing, name a file: sqlite:///<file>")
    return url


class Settings(BaseSettings):
    """Times are seconds, as on the wire."""

    model_config = SettingsConfigDict(env_prefix="REDIVER_SERVER_", frozen=True)

    database_url: Annotated[str, AfterValidator(_sqlite_file)] = DEFAULT_DATABASE_URL
    threads: Annotated[int, Field(ge=1, le=256)] = 16
    poll_interval_seconds: Annotated[float, Field(ge=1, le=300)] = 30
