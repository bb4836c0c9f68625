"""Takes GitHub's webhooks of security alerts for the agent: signed, on disk before the answer.

Code scanning, Dependabot and secret scanning alerts become findings with the status that GitHub
gives them. A delivery is answered 202 only when it is on the agent's disk; nothing that is not
signed with one of the operator's secrets is even parsed.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, Field, SecretStr, model_validator

from rediver_agent import Collector, ListenContext, hookimpl
from rediver_webhook._listen import Door, listen

rediver_api = 1

LEAST_SECRET: Final = 16  # characters: a captured delivery lets anyone try shorter ones at leisure
MEBIBYTE: Final = 1 << 20


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < LEAST_SECRET:
        raise ValueError(
            f"a secret has at least {LEAST_SECRET} characters; `openssl rand -hex 32` makes one"
        )
    return secret


def _whole(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~/-]*", path):
        raise ValueError("write it like /webhook/github")
    return path


def _named(repository: str) -> str:
    if not re.fullmatch(r"[\w.-]+/([\w.-]+|\*)", repository):
        raise ValueError(f"{repository!r} is none; write owner/name, or owner/* for all of one")
    return repository.lower()


class Options(BaseModel, extra="forbid"):
    """`collectors[].config` of `webhook`."""

    secrets: Annotated[
        list[Annotated[SecretStr, AfterValidator(_long_enough)]], Field(min_length=1)
    ]
    """As they are entered at GitHub. Several while one is replaced by another."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    """0 is any that is free: the log and `rediver-agent status` say which."""
    path: Annotated[str, AfterValidator(_whole)] = "/webhook/github"
    repositories: list[Annotated[str, AfterValidator(_named)]] | None = None
    """Whose alerts are taken; without it everybody's who signs."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=25 * MEBIBYTE)] = 5 * MEBIBYTE
    tls_certfile: Path | None = None
    tls_keyfile: Path | None = None
    allow_http: bool = False
    """Without TLS beyond this machine, as behind a proxy that has it."""

    @model_validator(mode="after")
    def _encrypted_beyond_this_machine(self) -> "Options":
        if self.tls_keyfile and not self.tls_certfile:
            raise ValueError("tls_keyfile needs tls_certfile; name both")
        if not (self.tls_certfile or self.allow_http or _is_loopback(self.host)):
            raise ValueError(
                f"plain http on {self.host} would show alerts to the network; set tls_certfile "
                "and tls_keyfile, or listen on 127.0.0.1 behind a proxy that has TLS, or set "
                "allow_http: true"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Webhook(Collector[Options]):
    name = "webhook"
    options = Options

    async def listen(self, ctx: ListenContext, options: Options) -> None:
        """See `Collector.listen`."""
        door = Door(
            host=options.host,
            port=options.port,
            path=options.path,
            certificate=options.tls_certfile,
            private_key=options.tls_keyfile,
            secrets=[secret.get_secret_value().encode() for secret in options.secrets],
            repositories=options.repositories,
            max_body_bytes=options.max_body_bytes,
        )
        await listen(door, ctx)


@hookimpl
def rediver_collectors() -> Iterator[Webhook]:
    yield Webhook()
