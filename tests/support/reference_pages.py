"""Writes the reference pages from the code: `make docs`. A test compares them with what is there."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import interface_page
import plugin_pages
from pydantic import BaseModel

from rediver_agent.cli import COMMANDS, cli
from rediver_agent.contract.openapi import openapi_document
from rediver_agent.contract.results import Reason
from rediver_agent.durations import Duration, format_duration
from rediver_agent.settings import Settings
from rediver_server.cli import commands as server_commands
from rediver_server.settings import Settings as ServerSettings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

REASONS = {
    Reason.TYPE_NOT_ALLOWED: "The operator of the agent does not allow this type, or the agent has no handler for it.",
    Reason.TARGET_NOT_ALLOWED: "The target is not below an allowed root, or is no directory that can be read.",
    Reason.EXPIRED: "The command's time was over when it could have begun.",
    Reason.UNKNOWN_SCANNER: "No installed and enabled plugin provides the scanner.",
    Reason.UNKNOWN_COLLECTOR: "No installed plugin provides the collector.",
    Reason.INVALID_PAYLOAD: "The payload, an option of the scanner, collector or command type or, in a local scan, the target's `.rediver.yaml` is wrong; the message names it.",
    Reason.TOOL_MISSING: "The tool is not on the agent's PATH, nor where `scanners[].binary` says.",
    Reason.TOOL_ERROR: "The tool crashed, or ended with an exit code that means failure.",
    Reason.TIMEOUT: "The tool, or the plugin, was not done after `timeout_seconds` and was ended.",
    Reason.REPORT_UNREADABLE: "The report is missing, empty, cut off or not of its format.",
    Reason.PARTIAL_SCAN: "The tool says itself that it did not look at everything. What it found is kept.",
    Reason.PLUGIN_ERROR: "The plugin, or an enricher, failed; the agent's log has the traceback.",
    Reason.AGENT_RESTARTED: "The agent was killed during the work. Another attempt may be made.",
    Reason.AGENT_STOPPED: "The agent was stopped during the work. Another attempt may be made.",
    Reason.LEASE_LOST: "The server gave the command to another agent.",
    Reason.FINDINGS_REJECTED: "The server refused the findings; `rediver-agent spool list` shows why.",
    Reason.CONFIG_REJECTED: "The settings do not work: no heartbeat was accepted under them, or no agent could start with them. What was before goes on.",
    Reason.AGENT_ERROR: "The agent could not use its own state directory. Another attempt may be made.",
    Reason.DISK_FULL: "The agent's disk is full. Another attempt may be made.",
}  # fmt: skip


SERVER_SETTINGS = {
    "database_url": "`sqlite:///<file>`, or `postgresql://<user>@<host>/<database>`. Also `--database-url`.",
    "listen_url": "PostgreSQL without the pooler that `database_url` goes through: one that pools transactions cannot LISTEN.",
    "database_connections": "Connections to the database, at most, of each process.",
    "max_sockets": "Open WebSockets, at most, of each process. On SQLite each takes two threads.",
    "ping_seconds": "How often an open socket is pinged. Who has not answered by the next one is cut off.",
    "poll_interval_seconds": "What agents are told to wait between polls.",
    "trusted_proxies": "How many proxies stand before the server. Only so many forwarded addresses are believed.",
    "log_format": "`json` is one document a line, on stderr.",
    "metrics_token": "What opens `/metrics`, and then nothing else does.",
    "creations_per_minute": "Commands that a tenant may create, over all processes. 0 is off.",
    "creations_burst": "So many of them at once.",
    "ingests_per_minute": "Parts of reports that a source may send to a process. 0 is off.",
    "ingests_burst": "So many of them at once.",
    "heartbeats_per_minute": "Heartbeats of a source, to a process. 0 is off.",
    "failed_keys_per_minute": "Wrong keys from an address (IPv6: its /64), to a process. A valid key passes always. 0 is off.",
    "keep_finished_commands_days": "Then they are forgotten with their audit trail. 0 is for ever, here and below.",
    "keep_audit_days": "The audit trail of finished commands.",
    "keep_late_results_days": "Results that came too late to count.",
    "keep_resolved_findings_days": "From the day on which they were resolved, and nobody has seen them since.",
}  # fmt: skip


def pages() -> dict[str, str]:
    """Every generated page: its name and its text."""
    return {
        "server-settings.md": _server_settings(),
        "server-command-line.md": _server_command_line(),
        "http-api.md": _http_api(),
        "configuration.md": _configuration(),
        "command-line.md": _command_line(),
        "reasons.md": _reasons(),
        "scanner-options.md": plugin_pages.scanner_options(),
        "findings.md": plugin_pages.findings_page(),
        "plugin-interface.md": interface_page.page(),
    }


def _reasons() -> str:
    rows = "".join(f"| `{reason.value}` | {REASONS[reason]} |\n" for reason in Reason)
    return (
        "# Reasons of a failed command\n\n"
        "A failed result carries one of these in `metadata.reason`, and a sentence in `error`.\n\n"
        f"| reason | what it means |\n| --- | --- |\n{rows}"
    )


def _configuration() -> str:
    lines = [
        "# Configuration",
        "",
        "`agent.yaml`, given by `--config` or `REDIVER_CONFIG`. Default < enrolled < file < what a server has changed < environment < flag.",
        "Every setting has an environment variable; `${VAR}` is expanded in values of the file.",
        "A secret can stand in a file instead: where `${VAR}` is not set, `VAR_FILE` names a file that holds its value, and so do",
        "`REDIVER_SERVER__API_KEY_FILE`, `REDIVER_ENROLLMENT_TOKEN_FILE`, `REDIVER_SCANNERS_FILE` and `REDIVER_COLLECTORS_FILE`. Both set is an error.",
        "In the environment a list is JSON: `REDIVER_TARGETS='[\"/srv/code\"]'`. An empty section is its defaults.",
        "Durations are written `30s`, `5m`, `1h30m`. An unknown key is an error, and so is one that is there twice.",
        "",
    ]
    top = {name: field for name, field in Settings.model_fields.items() if not _model(field)}
    lines += ["## At the top", "", *_table(top, "REDIVER_")]
    for name, field in Settings.model_fields.items():
        model = _model(field)
        if model is not None:
            many = "list" in str(field.annotation)
            title = f"`{name}[]`" if many else f"`{name}`"
            prefix = "" if many else f"REDIVER_{name.upper()}__"
            lines += ["", f"## {title}", "", *_table(model.model_fields, prefix)]
    return "\n".join(lines) + "\n"


def _table(fields: dict[str, Any], prefix: str) -> Iterator[str]:
    yield "| setting | default | meaning | environment |"
    yield "| --- | --- | --- | --- |"
    for name, field in fields.items():
        variable = f"`{prefix}{name.upper()}`" if prefix else ""
        yield f"| `{name}` | {_default(field)} | {field.description or ''} | {variable} |"


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if field.default_factory is not None:
        known = {
            "_default_state_dir": "`~/.local/state/rediver-agent`",
            "gethostname": "the host's name",
        }
        name = getattr(field.default_factory, "__name__", "")
        if name in known:
            return known[name]
        value = field.default_factory()
    if value is None:
        return ""
    if isinstance(value, list):
        value = [str(item) for item in value]
    if field.annotation in get_args(Duration):
        return f"`{format_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _model(field: Any) -> type[BaseModel] | None:
    for candidate in (field.annotation, *_nested(field.annotation)):
        if inspect.isclass(candidate) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _nested(annotation: Any) -> Iterator[Any]:
    for inner in get_args(annotation):
        yield inner
        yield from _nested(inner)


def _command_line() -> str:
    text = "# Command line\n\nExit codes: 0 done or drained, 1 findings at or over `--fail-on`, 2 usage, configuration,\n"
    text += "a missing tool, a failed or partial scan, 3 third signal. Errors are one sentence on stderr.\n"
    context = click.Context(cli, info_name="rediver-agent")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        text += _help(command, f"rediver-agent {name}")
        if isinstance(command, click.Group):
            for sub in command.commands.values():
                text += _help(sub, f"rediver-agent {name} {sub.name}")
    return text


def _server_settings() -> str:
    text = "# Settings of the server\n\nEach is an environment variable; flags of `rediver-server` come before them.\n\n"
    text += "| variable | default | meaning |\n| --- | --- | --- |\n"
    for name, field in ServerSettings.model_fields.items():
        variable = f"`REDIVER_SERVER_{name.upper()}`"
        text += f"| {variable} | {_default(field)} | {SERVER_SETTINGS[name]} |\n"
    return text


def _server_command_line() -> str:
    text = "# Command line of the server\n\nExit codes: 0 done, 1 `doctor` found something, 2 it cannot be done: one sentence on\n"
    text += "stderr says why.\n"
    for name, command in sorted(server_commands.commands.items()):
        text += _help(command, f"rediver-server {name}")
        for sub in command.commands.values() if isinstance(command, click.Group) else ():
            text += _help(sub, f"rediver-server {name} {sub.name}")
    return text


def _http_api() -> str:
    text = "# The HTTP API\n\nThe server publishes it as OpenAPI 3.1 at `/api/v1/openapi.json`, with schemas and examples, and to read\n"
    text += "and try at `/api/v1/docs`; `rediver-server openapi` prints it. A role may do what those before it may: viewer,\n"
    text += "operator, admin. `source` is an agent's key.\n\n| call | who | what |\n| --- | --- | --- |\n"
    for path, item in openapi_document()["paths"].items():
        for method, said in item.items():
            who = ", ".join(said.get("x-roles", ())) or "anybody"
            text += f"| `{method.upper()} {path}` | {who} | {said['summary']} |\n"
    return text


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    return f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
