"""`rediver-server`: one sentence on stderr and exit 2 for whatever cannot be done.

With `--json` stdout is one JSON document. Every command brings SQLite's schema up to date first;
PostgreSQL's is brought there by `migrate` alone.
"""

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import click
from pydantic import ValidationError
from pydantic_core import to_json
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from rediver_agent.contract import SourceCreate
from rediver_agent.contract.openapi import openapi_document
from rediver_server import __version__, doctor, schema, serve, sources
from rediver_server.auth import new_key
from rediver_server.db import Database, Transaction
from rediver_server.errors import from_validation
from rediver_server.models import ApiKey, Role, Tenant, new_id
from rediver_server.settings import Settings, is_sqlite

_PEOPLE = click.Choice([Role.VIEWER.value, Role.OPERATOR.value, Role.ADMIN.value])
_SOURCE_TYPES = click.Choice(get_args(SourceCreate.model_fields["type"].annotation))


class CannotBeDone(click.ClickException):
    exit_code = 2


def database_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--database-url",
        help="sqlite:///<file> or postgresql://<address>; or REDIVER_SERVER_DATABASE_URL.",
    )(command)


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


@click.group()
@click.version_option(__version__, prog_name="rediver-server")
def commands() -> None:
    """The Rediver reference server."""


@commands.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1))
@click.option("--listen-url", help="PostgreSQL itself, if a pooler stands before it.")
@click.option("--trusted-proxies", type=click.IntRange(0, 10), help="How many stand before it.")
@database_option
def serve_command(host: str, port: int, workers: int, **options: Any) -> None:
    """Answer agents and operators until stopped."""
    settings = _settings(**options)
    if workers > 1 and is_sqlite(settings.database_url):
        raise CannotBeDone("SQLite has one writer: run it with --workers 1")
    with _database(settings):
        pass
    try:
        listener = serve.listen(host, port)
    except OSError as fault:
        raise CannotBeDone(f"cannot listen on {host}:{port}: {fault.strerror}") from fault
    serve.serve(settings, listener, workers)


@commands.command()
@database_option
def migrate(database_url: str | None) -> None:
    """Bring the database to the newest schema."""
    with _opened(_settings(database_url)) as database:
        click.echo(f"the database is at revision {schema.upgrade(database)}")


@commands.command()
@click.option("--database-url", expose_value=False, help="Not needed: it is the same for all.")
def openapi() -> None:
    """Print the contract as OpenAPI 3.1."""
    click.echo(to_json(openapi_document(), indent=2))


@commands.command("doctor")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Of `serve`.")
@database_option
@json_option
def doctor_command(workers: int, database_url: str | None, as_json: bool) -> None:
    """Say what is in order and what to do; exit 1 if something is to be done."""
    checks = list(doctor.examine(_settings(database_url), workers))
    ok = all(check.ok for check in checks)
    if as_json:
        click.echo(to_json({"ok": ok, "checks": [check._asdict() for check in checks]}))
    else:
        click.echo("\n".join(map(str, checks)))
    sys.exit(0 if ok else 1)


@commands.group()
def tenant() -> None:
    """Tenants: each sees its own and nothing else."""


@tenant.command("create")
@click.argument("name")
@database_option
@json_option
def create_tenant(name: str, database_url: str | None, as_json: bool) -> None:
    """Make a tenant and a first key with the role admin."""
    if not (name.strip() and name.isprintable() and len(name) <= 255):
        raise CannotBeDone("a tenant's name has 1 to 255 printable characters; choose another")
    with _database(_settings(database_url)) as database, database.write() as tx:
        if tx.scalar(select(Tenant).where(Tenant.name == name)) is not None:
            raise CannotBeDone(f"there is a tenant {name} already; choose another name")
        now = tx.now
        row = Tenant(id=new_id("ten"), name=name, created_at=now)
        tx.add(row)
        tx.flush()
        key_row, key = new_key(row.id, Role.ADMIN, now)
        tx.add(key_row)
    _print({"tenant_id": row.id, "api_key": key}, as_json)


@commands.group()
def key() -> None:
    """Keys of people. Those of agents belong to sources."""


@key.command("create")
@click.option("--tenant", "tenant_name", required=True, help="Name or id.")
@click.option("--role", required=True, type=_PEOPLE)
@database_option
@json_option
def create_key(tenant_name: str, role: str, database_url: str | None, as_json: bool) -> None:
    """Make a key; it is shown once."""
    with _database(_settings(database_url)) as database, database.write() as tx:
        owner = _tenant(tx, tenant_name)
        row, text = new_key(owner.id, Role(role), tx.now)
        tx.add(row)
    _print({"key_id": row.id, "api_key": text}, as_json)


@key.command("revoke")
@click.argument("key_id")
@database_option
def revoke_key(key_id: str, database_url: str | None) -> None:
    """End a key at once."""
    with _database(_settings(database_url)) as database, database.write() as tx:
        row = tx.get(ApiKey, key_id)
        if row is None:
            raise CannotBeDone(f"there is no key {key_id}")
        row.revoked_at = row.revoked_at or tx.now


@commands.group()
def source() -> None:
    """Sources: agents, scanners and collectors."""


@source.command("create")
@click.option("--tenant", "tenant_name", required=True, help="Name or id.")
@click.option("--name", required=True)
@click.option("--type", "kind", default="agent", show_default=True, type=_SOURCE_TYPES)
@database_option
@json_option
def create_source(
    tenant_name: str, name: str, kind: str, database_url: str | None, as_json: bool
) -> None:
    """Make a source and its first key; it is shown once."""
    wanted = SourceCreate.model_validate({"name": name, "type": kind})
    with _database(_settings(database_url)) as database, database.write() as tx:
        owner = _tenant(tx, tenant_name)
        created = sources.create(tx, owner.id, wanted)
    _print(created, as_json)


def _settings(database_url: str | None, **options: Any) -> Settings:
    given: dict[str, Any] = {"database_url": database_url or None, **options}
    return Settings(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def _opened(settings: Settings) -> Generator[Database]:
    """The database as it is. What it refuses is said in one sentence."""
    try:
        database = Database(settings.database_url)
    except OSError as fault:
        raise CannotBeDone(f"cannot open {settings.database_url}: {fault.strerror}") from fault
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _database(settings: Settings) -> Generator[Database]:
    """The database with the newest schema: brought to it on SQLite, checked on PostgreSQL."""
    with _opened(settings) as database:
        if database.is_sqlite:
            schema.upgrade(database)
        elif schema.current_revision(database) != schema.newest_revision():
            raise CannotBeDone("the schema is not the newest: run `rediver-server migrate`")
        yield database


def _tenant(tx: Transaction, name: str) -> Tenant:
    row = tx.scalar(select(Tenant).where(or_(Tenant.id == name, Tenant.name == name)))
    if row is None:
        raise CannotBeDone(f"there is no tenant {name}; make it with `tenant create {name}`")
    return row


def _print(document: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(to_json(document))
        return
    for name, value in document.items():
        click.echo(f"{name}: {value}")


def main() -> None:
    """The console script."""
    try:
        commands.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(2)
    except click.ClickException as fault:
        _complain(fault.format_message())
    except ValidationError as fault:
        _complain(str(from_validation(fault)))
    except SQLAlchemyError as fault:
        said = str(getattr(fault, "orig", None) or fault)
        _complain(f"the database cannot be used: {said.splitlines()[0]}")
    except OSError as fault:
        _complain(f"stdout cannot be written: {fault.strerror}")


def _complain(sentence: str) -> None:
    click.echo(f"rediver-server: {sentence}", err=True)
    sys.exit(2)
