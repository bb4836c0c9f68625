"""`rediver-agent enroll`: make this machine an agent of a server, by a token instead of a key.

The token is used once everything else is known to be right, and what the server gives is on disk
before anything is printed. The token is in no message.
"""

import os
import socket
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import anyio
import click
from pydantic import SecretStr

from rediver_agent.cli.options import config_option
from rediver_agent.client import Client
from rediver_agent.contract.errors import ErrorCode
from rediver_agent.contract.sources import Enroll, SourceCreated
from rediver_agent.credentials import FILE_NAME, Credentials, keep
from rediver_agent.errors import (
    ConfigurationError,
    RediverError,
    ServerError,
    ServerRefused,
    ServerUnavailable,
)
from rediver_agent.masking import mask, printable
from rediver_agent.settings import Settings
from rediver_agent.settings_file import Sources, of_file, read
from rediver_agent.state_dir import private_directory, replace_file

TOKEN_VARIABLE: Final = "REDIVER_ENROLLMENT_TOKEN"  # noqa: S105 - its name
PAUSE_SECONDS: Final = 1.0  # before a call without an answer is made again
_NEW_TOKEN: Final = "ask an admin for a new one (POST /api/v1/enrollment-tokens)"  # noqa: S105 - a sentence


@click.command("enroll")
@click.option("--server", "url", metavar="URL", help="Without it: server.base_url.")
@click.option("--token", help="It is seen in the list of processes: better use --token-file.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help=f"Holds the token. Or {TOKEN_VARIABLE}, or {TOKEN_VARIABLE}_FILE.",
)
@click.option("--name", help="What people know this agent by. Without it: agent.name.")
@click.option("--force", is_flag=True, help="Also where this machine is enrolled already.")
@config_option
def command(
    url: str | None,
    token: str | None,
    token_file: Path | None,
    name: str | None,
    force: bool,
    config_file: Path | None,
) -> None:
    """Make this machine an agent of a server, and keep its key in the state directory.

    Afterwards `rediver-agent run` needs no server in its configuration, only
    agent.enable_command_polling.
    """
    secret = _token(token, token_file)
    settings = _settings(read(config_file), url, secret)
    _ready(settings.state_dir, force)
    wanted = Enroll(name=name or settings.agent.name, hostname=socket.gethostname())
    try:
        made = anyio.run(_enrolled, settings, wanted)
    except RediverError as fault:
        raise ConfigurationError(mask(str(fault), secret)) from None
    path = _kept(settings, made)
    click.echo(printable(f"enrolled as {made.name} ({made.id}) at {settings.server.base_url}"))
    click.echo(f"its key is in {path}; take commands from there with:")
    click.echo("  REDIVER_AGENT__ENABLE_COMMAND_POLLING=true rediver-agent run")


def _token(token: str | None, file: Path | None) -> str:
    """The token of whichever of the four names it. More than one, or none, is an error."""
    if file is not None:
        try:
            of_option = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise ConfigurationError(f"--token-file {file} cannot be read: {fault}") from fault
    else:
        of_option = None
    given = [text for text in (token, of_option) if text is not None]
    if not given:
        given = [of_file(TOKEN_VARIABLE) or os.environ.get(TOKEN_VARIABLE, "")]
    if len(given) != 1 or not given[0]:
        raise ConfigurationError(
            f"name one enrollment token: --token-file, --token or {TOKEN_VARIABLE}; an admin makes "
            "it with POST /api/v1/enrollment-tokens"
        )
    return given[0]


def _settings(sources: Sources, url: str | None, token: str) -> Settings:
    """The agent's settings, with the token as the key: its TLS and its rules hold here too.

    Raises `ConfigurationError` where the configuration names a server or a key, which would be
    used instead of what is enrolled.
    """
    own: dict[str, Any] = {}
    for source in (sources.file, sources.environment):
        section = source.get("server")
        own |= cast("Mapping[str, Any]", section) if isinstance(section, dict) else {}
    if taken := [name for name in ("api_key", "api_key_file", "source_id") if name in own]:
        raise ConfigurationError(
            f"the configuration has a server.{taken[0]}, which would be used instead of what is "
            "enrolled; remove it first"
        )
    base_url = str(own.get("base_url") or "").rstrip("/")
    if not (url or base_url):
        raise ConfigurationError("name the server: --server https://rediver.example.com")
    if url and base_url and url.rstrip("/") != base_url:
        raise ConfigurationError(
            f"the configuration names another server, {base_url}; its key would never be used: "
            "remove server.base_url, or enroll there"
        )
    flags = {"server": {"base_url": url or base_url, "api_key": token}}
    return Sources(sources.path, sources.file, sources.environment, flags).settings()


def _ready(state_dir: Path, force: bool) -> None:
    """No token is spent where its key cannot be kept."""
    path = private_directory(state_dir) / FILE_NAME
    if path.exists() and not force:
        raise ConfigurationError(
            f"this machine is enrolled already ({path}); --force enrolls it as another agent"
        )
    probe = path.with_name(f"{FILE_NAME}.{os.getpid()}")
    replace_file(probe, "")
    probe.unlink()


async def _enrolled(settings: Settings, wanted: Enroll) -> SourceCreated:
    """Enroll, again where there was no answer: the server knows a repeat by its key."""
    key = uuid.uuid4().hex
    lost: ServerUnavailable | None = None
    async with Client(settings.server, now=lambda: datetime.now(UTC)) as client:
        for _ in range(settings.server.max_retries + 1):
            if lost is not None:
                await anyio.sleep(max(PAUSE_SECONDS, lost.retry_after))
            try:
                return await client.enroll(wanted, key)
            except ServerUnavailable as fault:
                lost = fault
            except ServerRefused as fault:
                raise ConfigurationError(_refused(fault, lost, wanted)) from fault
    raise ConfigurationError(
        f"{lost}. Try again; should the token be spent then, the call has reached the server all "
        f"the same: look for {wanted.name!r} among its sources"
    )


def _refused(fault: ServerRefused, lost: ServerError | None, wanted: Enroll) -> str:
    if fault.code == ErrorCode.IDEMPOTENCY_REPLAY:
        return f"the answer with the key was lost on its way: {fault}; delete it, and {_NEW_TOKEN}"
    if fault.status == 401 and lost:
        return (
            f"there was no answer ({lost}), and now the token is spent, or was before: look for "
            f"{wanted.name!r} among the server's sources (GET /api/v1/sources), delete it if it is "
            f"there, and {_NEW_TOKEN}"
        )
    if fault.status == 401:
        return f"the server does not take this token: it is spent, expired or wrong; {_NEW_TOKEN}"
    return f"{fault}"


def _kept(settings: Settings, made: SourceCreated) -> Path:
    credentials = Credentials(
        base_url=settings.server.base_url or "",
        source_id=made.id,
        api_key=SecretStr(made.api_key),
        name=made.name,
        enrolled_at=datetime.now(UTC),
    )
    try:
        return keep(settings.state_dir, credentials)
    except RediverError as fault:
        raise ConfigurationError(
            f"{fault}: the key of {made.id} is lost; delete that source, and {_NEW_TOKEN}"
        ) from fault
