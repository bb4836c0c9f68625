"""The agent's settings: default < file < environment < flag, validated whole.

The file is YAML with the origin document's keys. `${VAR}` is expanded in values after the YAML is
read, so that no variable can add a key. An unknown key is an error. How a bad file is explained to
people is `settings_file`'s part.
"""

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from rediver_agent.configured_secrets import secrets_in
from rediver_agent.contract.commands import CommandType, TypeName
from rediver_agent.cron import Cron
from rediver_agent.durations import Duration, Interval

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_COMMAND_TYPES: Final = (
    CommandType.SCAN,
    CommandType.COLLECT,
    CommandType.HEALTH_CHECK,
    CommandType.CONFIG_UPDATE,
    CommandType.CANCEL,
)

REMOTE_SETTINGS: Final = frozenset(
    {
        "agent.scan_interval", "agent.scan_cron", "agent.collect_interval",
        "agent.heartbeat_interval", "agent.verbose", "agent.command_poll_interval",
        "agent.max_concurrent", "agent.drain_seconds",
        "scanners", "retry_queue.max_age", "retry_queue.min_free_bytes",
    }
)  # fmt: skip
"""What `security.remote_config` may name. Never targets, allow-lists, the server's address or keys,
programs or collectors, whose options hold addresses that tokens are sent to."""


def _default_state_dir() -> Path:
    """Where the XDG base directory specification puts state that must outlive a restart."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "rediver-agent"


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _root(path: str) -> str:
    """Not relative: what may be scanned must not depend on where the agent was started."""
    try:
        absolute = Path(path).expanduser().is_absolute()
    except RuntimeError:  # of a user that is not there
        absolute = False
    if not absolute:
        raise ValueError(f"{path!r} is not an absolute path; write it like /srv/checkouts")
    return path


Root = Annotated[str, AfterValidator(_root)]


class AgentSection(Section):
    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        default_factory=socket.gethostname, description="what the server and the reports call it"
    )
    version: str | None = Field(default=None, description="a label of yours; shown, never acted on")
    scan_interval: Interval = Field(
        default=timedelta(hours=1), description="between two local scans of `targets`"
    )
    scan_cron: Cron | None = Field(
        default=None,
        description="when to scan `targets`, instead of every scan_interval: five cron fields, UTC",
    )
    collect_interval: Interval = Field(
        default=timedelta(minutes=15), description="between collections"
    )
    heartbeat_interval: Interval = Field(
        default=timedelta(seconds=60), description="at most 20 s in work"
    )
    verbose: bool = Field(default=False, description="log what would only interest a developer")
    enable_command_polling: bool = Field(default=False, description="take commands from the server")
    command_poll_interval: Interval = Field(
        default=timedelta(seconds=30), description="give or take 20 %"
    )
    max_concurrent: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2, description="scans at once"
    )
    drain_seconds: Annotated[int, Field(ge=0, le=604_800)] = Field(
        default=300, description="how long a first SIGTERM waits for running scans"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="of `run`: lines for people, or one JSON document a line"
    )
    plugin_load_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        default=30.0, description="for one plugin to be loaded, and to say what it provides"
    )
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="serve Prometheus metrics on 127.0.0.1; needs rediver-agent[metrics]",
    )


class ServerSection(Section):
    base_url: str | None = Field(default=None, description="https://rediver.example.com")
    api_key: SecretStr | None = Field(
        default=None, description="rs_src_…, or name a file that holds it"
    )
    api_key_file: Path | None = Field(default=None, description="a file that holds the key")
    source_id: str | None = Field(default=None, description="src_…, checked against the key")
    timeout: Interval = Field(default=timedelta(seconds=30), description="for a reply")
    max_retries: Annotated[int, Field(ge=0, le=20)] = Field(default=3, description="of one call")
    ca_file: Path | None = Field(default=None, description="a private authority's certificate")
    client_cert: Path | None = Field(default=None, description="for mutual TLS")
    client_key: Path | None = Field(default=None, description="for mutual TLS")
    allow_http: bool = Field(default=False, description="plain http beyond this machine")
    websocket: bool = Field(
        default=True,
        description="be woken at once instead of by the next poll; needs rediver-agent[websocket]",
    )

    @model_validator(mode="before")
    @classmethod
    def _key_of_a_file(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = cast("dict[str, Any]", values)
        name = given.get("api_key_file")
        if not isinstance(name, str | Path) or given.get("api_key"):
            return given
        try:
            return {**given, "api_key": Path(name).read_text(encoding="utf-8").strip()}
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"api_key_file {name} cannot be read: {fault}") from fault

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = key.get_secret_value() if key else ""
        if not text.isascii() or any(c.isspace() or not c.isprintable() for c in text):
            raise ValueError("no key has blanks, line ends or letters beyond ASCII in it")
        return key

    @field_validator("base_url")
    @classmethod
    def _an_http_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not (parts.hostname and parts.port != 0)  # `port` refuses one that is none
            or parts.username is not None  # it would be shown; the key is for this
            or not url.isprintable()
            or any(c in url for c in " ?#")
        ):
            raise ValueError("write it like https://rediver.example.com")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _encrypted_beyond_this_machine(self) -> "ServerSection":
        parts = urlsplit(self.base_url or "https://unset")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not self.allow_http:
            raise ValueError(
                "plain http would show the key to the network; use https, or set allow_http: true"
            )
        return self


class ScannerSection(Section):
    name: str = Field(description="as `rediver-agent plugins` lists it")
    enabled: bool = Field(default=True, description="off: a command for it is refused")
    binary: str | None = Field(default=None, description="the program, where it is not on PATH")
    config: dict[str, JsonValue] = Field(
        default_factory=dict, description="its options; a command's own come over them"
    )


class CollectorSection(Section):
    name: str = Field(description="as `rediver-agent plugins` lists it")
    enabled: bool = Field(default=True, description="off: a command for it is refused")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="its options")


class PluginSection(Section):
    """Of an enricher or an observer: what is listed is used, in this order."""

    name: str = Field(description="as `rediver-agent plugins` lists it")
    enabled: bool = Field(default=True, description="off: as if it were not listed")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="its options")


class HandlerSection(Section):
    """Of a plugin's own command type. `security.allowed_command_types` allows it."""

    name: str = Field(description="the command type, as `rediver-agent plugins` lists it")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="its options")


class ParserSection(Section):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=50)] = Field(
        description="what `--parser` and a scanner call it; small letters, digits and -"
    )
    format: str = Field(default="json", description="the installed parser that it is made of")
    mapping: Path | None = Field(
        default=None, description="a file that holds its options; seen from the configuration file"
    )
    config: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="its options, instead of a file"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "ParserSection":
        if (self.mapping is None) == (not self.config):
            raise ValueError(f"the parser {self.name} needs `mapping` or `config`, and one of them")
        return self


Named = TypeVar(
    "Named", ScannerSection, CollectorSection, ParserSection, HandlerSection, PluginSection
)


def _remote(name: str) -> str:
    """Not what decides who commands this agent, what it may look at, or which programs it runs."""
    if name not in REMOTE_SETTINGS:
        raise ValueError(f"a server may change only these: {', '.join(sorted(REMOTE_SETTINGS))}")
    return name


RemoteSetting = Annotated[str, AfterValidator(_remote)]


class SecuritySection(Section):
    allowed_targets: list[Root] = Field(
        default_factory=list, description="roots that the server may have scanned; else `targets`"
    )
    allowed_command_types: list[TypeName] = Field(
        default_factory=lambda: list(DEFAULT_COMMAND_TYPES),
        description="restart and upgrade are opted into, and what plugins add",
    )
    allowed_plugins: list[str] | None = Field(
        default=None,
        description="distributions whose plugins may be loaded; without it all that are installed",
    )
    remote_config: list[RemoteSetting] = Field(
        default_factory=list, description="settings that the server may change"
    )


class RetryQueueSection(Section):
    max_age: Duration = Field(
        default=timedelta(days=7), description="how long a report is kept for"
    )
    max_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        default=1 << 30, description="of the spool"
    )
    min_free_bytes: Annotated[int, Field(ge=0)] = Field(
        default=64 << 20, description="with less free disk nothing new is claimed"
    )


class Settings(BaseSettings):
    """Everything an operator can set. Built by `settings_file.load`."""

    model_config = SettingsConfigDict(
        env_prefix="REDIVER_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    agent: AgentSection = Field(default_factory=AgentSection)
    server: ServerSection = Field(default_factory=ServerSection)
    targets: list[Root] = Field(default_factory=list, description="what this agent scans by itself")
    scanners: list[ScannerSection] | None = Field(
        default=None,
        description="which scanners; without it every installed one whose tool is found",
    )
    collectors: list[CollectorSection] = Field(default_factory=list[CollectorSection])
    parsers: list[ParserSection] = Field(
        default_factory=list[ParserSection],
        description="parsers made of installed ones, such as of `json` by a mapping",
    )
    handlers: list[HandlerSection] = Field(
        default_factory=list[HandlerSection], description="options of plugins' own command types"
    )
    enrichers: list[PluginSection] = Field(
        default_factory=list[PluginSection],
        description="what changes findings before they leave, in this order",
    )
    observers: list[PluginSection] = Field(
        default_factory=list[PluginSection], description="what is told of commands as they run"
    )
    security: SecuritySection = Field(default_factory=SecuritySection)
    retry_queue: RetryQueueSection = Field(default_factory=RetryQueueSection)
    state_dir: Path = Field(default_factory=_default_state_dir, description="spool, caches, work")

    @field_validator("scanners", "collectors", "parsers", "handlers", "enrichers", "observers")
    @classmethod
    def _each_once(cls, sections: list[Named] | None) -> list[Named] | None:
        names = [section.name for section in sections or ()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{twice[0]} is there twice; write one entry for it")
        return sections

    @field_validator("state_dir")
    @classmethod
    def _named(cls, path: Path) -> Path:
        if path == Path():  # an empty variable; it would be made private
            raise ValueError("it is empty; name a directory of its own")
        return path.expanduser()

    @model_validator(mode="after")
    def _polling_needs_a_server(self) -> "Settings":
        known = self.server.base_url and self.server.api_key
        if self.agent.enable_command_polling and not known:
            raise ValueError(
                "agent.enable_command_polling needs server.base_url and server.api_key; set both"
            )
        return self

    def allowed_roots(self) -> list[str]:
        """The roots below which a server may have something scanned; none means nothing."""
        return self.security.allowed_targets or self.targets

    def scanner(self, name: str) -> ScannerSection:
        """What the operator wrote about a scanner, or the defaults."""
        for section in self.scanners or ():
            if section.name == name:
                return section
        return ScannerSection(name=name)

    def is_enabled(self, name: str) -> bool:
        """Whether a scanner may be used: listed and on, or with no list at all."""
        if self.scanners is None:
            return True
        return any(section.name == name and section.enabled for section in self.scanners)

    def collector(self, name: str) -> CollectorSection:
        """What the operator wrote about a collector, or the defaults."""
        for section in self.collectors:
            if section.name == name:
                return section
        return CollectorSection(name=name)

    def enabled_collectors(self) -> list[str]:
        """Collectors are used where they are listed: most need an address and a key."""
        return [section.name for section in self.collectors if section.enabled]

    def handler(self, command_type: str) -> HandlerSection:
        """What the operator wrote about a plugin's command type, or the defaults."""
        for section in self.handlers:
            if section.name == command_type:
                return section
        return HandlerSection(name=command_type)

    def secrets(self) -> list[str]:
        """Every configured secret, for the masks of logs, results and errors."""
        key = [self.server.api_key.get_secret_value()] if self.server.api_key else []
        sections = (
            *(self.scanners or ()),
            *(*self.collectors, *self.handlers, *self.enrichers, *self.observers),
        )
        configs = [section.config for section in sections]
        return [*key, *(text for config in configs for text in secrets_in(config))]
