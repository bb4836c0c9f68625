"""Brings a database to the newest schema, and says whether it is there."""

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rediver_server.db import Database

_SCRIPTS: Final = "rediver_server:migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """The revision that this version of the server is written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the package carries its migrations"  # noqa: S101 - narrows the type
    return head


def current_revision(database: Database) -> str | None:
    """The revision that the database is at, None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database) -> str:
    """Apply what is missing, each revision whole or not at all, and return the newest revision."""
    newest = newest_revision()
    if current_revision(database) != newest:
        config = _config()
        with database.engine.connect().execution_options(writes=True) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return newest
