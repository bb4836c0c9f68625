"""Every call that the server answers, one entry each: what `openapi.py` writes the document from.

An operation names the roles that may call it (none: open to all), the models of its query, body
and reply, and the codes of its own errors. What follows from those (401 and 403 of a key, 413 and
415 of a body, the headers that a code brings) is said once, in `openapi.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from rediver_agent.contract import (
    batches,
    commands,
    findings,
    heartbeat,
    queries,
    results,
    routes,
    schedules,
    sources,
    views,
)
from rediver_agent.contract.errors import ErrorCode

Model = type[BaseModel]

SOURCE: Final = ("source",)
ADMIN: Final = ("admin",)
OPERATOR: Final = ("operator", *ADMIN)
VIEWER: Final = ("viewer", *OPERATOR)
ENROLL: Final = ("enroll",)
ANYBODY: Final = ()

JSON: Final = "application/json"
SARIF: Final = "application/sarif+json"

RATE: Final = (routes.RATE_LIMIT, routes.RATE_REMAINING, routes.RATE_RESET)

_E = ErrorCode
_RACED = (_E.ALREADY_CLAIMED, _E.COMMAND_EXPIRED, _E.COMMAND_CANCELLED, _E.COMMAND_FINISHED)
_TAKE = (*_RACED, _E.CONFLICT)
_ANSWER = (_E.NOT_CLAIMED, _E.STALE_ATTEMPT, _E.COMMAND_FINISHED)
_ONCE = (_E.IDEMPOTENCY_MISMATCH, _E.IDEMPOTENCY_IN_PROGRESS)
_ONCE_SHOWN = (*_ONCE, _E.IDEMPOTENCY_REPLAY)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. Several queries or replies: one for each kind of caller."""

    method: str
    path: str
    roles: tuple[str, ...]
    summary: str
    query: tuple[Model, ...] = ()
    body: Model | None = None
    reply: tuple[Model, ...] = ()
    status: int = 200
    media: str = JSON
    errors: tuple[ErrorCode, ...] = ()
    headers: tuple[str, ...] = ()
    more: str = ""


_AGENTS: Final = (
    Operation("get", routes.COMMANDS, (*SOURCE, *VIEWER),
        "Poll what this source may take; with a user's key, list the tenant's commands",
        query=(queries.PollQuery, queries.CommandsQuery),
        reply=(views.PollReply, views.CommandPage),
        more="A source key takes `limit`, `status=pending` and `types`; it claims nothing. "
        "A user's key takes `limit`, `cursor` and the filters. Each refuses the other's."),
    Operation("post", routes.COMMANDS_CLAIM, SOURCE,
        "Poll and acknowledge in one transaction", body=batches.Claim,
        reply=(views.ClaimReply,),
        more="For 24 hours the same claim_id never claims anew: it gives back what is still held "
        "of its first answer. The lease is 60 seconds."),
    Operation("post", routes.COMMAND_ACKNOWLEDGE, SOURCE,
        "Claim one command; of any number of racing agents exactly one wins",
        body=results.Acknowledge, reply=(results.Acknowledged,), errors=_TAKE,
        more="Repeated by its holder it answers the same."),
    Operation("post", routes.COMMAND_ACK, SOURCE, "The same as acknowledge",
        body=results.Acknowledge, reply=(results.Acknowledged,), errors=_TAKE),
    Operation("post", routes.COMMAND_PROGRESS, SOURCE,
        "Renew the lease; the first one moves the command to running",
        body=results.Progress, reply=(results.ProgressReply,), errors=_ANSWER),
    Operation("post", routes.COMMAND_RESULT, SOURCE, "Say how a command ended",
        body=results.CommandResult, reply=(results.ResultReply,), errors=_ANSWER,
        more="The same result again is 200. `failed` with `retryable` and attempts left puts the "
        "command back."),
    Operation("post", routes.COMMANDS_RESULTS, SOURCE, "Say how up to 100 commands ended",
        body=batches.ResultBatch, reply=(batches.ResultBatchReply,),
        more="Each item is a result and its `command_id`, and is answered as the single call "
        "would answer it."),
    Operation("post", routes.HEARTBEAT, SOURCE, "Say what the agent can do and holds",
        body=heartbeat.Heartbeat, reply=(heartbeat.HeartbeatReply,), errors=(_E.RATE_LIMITED,),
        more="Renews the lease of every command in `running`. `cancel` and `lost` of the reply "
        "are what to stop."),
    Operation("post", routes.INGEST_FINDINGS, SOURCE, "Deliver a report, or one part of it",
        body=findings.Report, reply=(findings.IngestReply,), errors=(_E.RATE_LIMITED,),
        more="At most 1,000 findings and 1,000 assets a part. It is stored whole or not at all; "
        "a part that comes again changes nothing."),
    Operation("get", routes.WEBSOCKET, SOURCE, "A WebSocket that only nudges", status=101,
        errors=(_E.INVALID_REQUEST,),
        more="Messages of the server, unknown types are to be ignored: `command_available`, "
        "`command_cancelled` with `command_id`, `config_update`, `closing` with `reason`. All "
        "data travels by HTTP: who never gets a message loses latency, never work."),
    Operation("post", routes.ENROLL, ENROLL, "Make a source with an enrollment token",
        body=sources.Enroll, reply=(sources.SourceCreated,), status=201, errors=_ONCE_SHOWN),
)  # fmt: skip

_COMMANDS: Final = (
    Operation("post", routes.COMMANDS, OPERATOR, "Create a command",
        body=commands.CommandCreate, reply=(commands.Command,), status=201,
        errors=(*_ONCE, _E.NOT_FOUND, _E.RATE_LIMITED), headers=RATE,
        more="`expires_at` or `ttl_seconds` (3600), not both. Without `source_id` any capable "
        "source of the tenant takes it."),
    Operation("post", routes.COMMANDS_BATCH, OPERATOR, "Create up to 100 commands",
        body=batches.CommandBatch, reply=(views.CommandBatchReply,),
        errors=(_E.RATE_LIMITED,), headers=RATE,
        more="Each item is the body of `POST /api/v1/commands`, with its own `idempotency_key` "
        "if it likes, and is judged by itself. Over the rate the batch is refused whole."),
    Operation("post", routes.COMMANDS_CANCEL, OPERATOR, "Cancel all commands that match",
        body=batches.BulkCancel, reply=(batches.BulkCancelReply,)),
    Operation("get", routes.COMMAND, VIEWER, "One command, whole", reply=(commands.Command,)),
    Operation("delete", routes.COMMAND, OPERATOR, "Cancel a command",
        reply=(commands.Command,), errors=(_E.COMMAND_FINISHED,),
        more="A pending one is cancelled at once. The holder of another is told, and its result "
        "settles it."),
    Operation("get", routes.COMMAND_EVENTS, VIEWER, "The audit trail of a command",
        reply=(views.CommandEvents,)),
)  # fmt: skip

_SCHEDULES: Final = (
    Operation("get", routes.SCHEDULES, VIEWER, "List schedules", query=(queries.PageQuery,),
        reply=(schedules.ScheduleList,)),
    Operation("post", routes.SCHEDULES, OPERATOR, "Scan by cron, in a time zone",
        body=schedules.ScheduleCreate, reply=(schedules.Schedule,), status=201,
        errors=(*_ONCE, _E.NOT_FOUND),
        more="Exactly five cron fields. Any number of server processes create one command for "
        "each fire time."),
    Operation("get", routes.SCHEDULE, VIEWER, "One schedule", reply=(schedules.Schedule,)),
    Operation("patch", routes.SCHEDULE, OPERATOR, "Change a schedule",
        body=schedules.SchedulePatch, reply=(schedules.Schedule,)),
    Operation("delete", routes.SCHEDULE, OPERATOR, "End a schedule", status=204),
    Operation("post", routes.SCHEDULE_RUN, OPERATOR, "Run a schedule now, once",
        body=views.Nothing, reply=(commands.Command,), status=201,
        errors=(*_ONCE, _E.NOT_FOUND, _E.RATE_LIMITED), headers=RATE),
    Operation("get", routes.SCHEDULE_UPCOMING, VIEWER, "The next fire times of a schedule",
        query=(queries.UpcomingQuery,), reply=(schedules.Upcoming,)),
)  # fmt: skip

_SOURCES: Final = (
    Operation("get", routes.SOURCES, VIEWER, "List sources", query=(queries.PageQuery,),
        reply=(sources.SourceList,)),
    Operation("post", routes.SOURCES, ADMIN, "Create a source and its first key",
        body=sources.SourceCreate, reply=(sources.SourceCreated,), status=201,
        errors=_ONCE_SHOWN),
    Operation("get", routes.SOURCE, VIEWER, "One source", reply=(sources.Source,)),
    Operation("patch", routes.SOURCE, ADMIN, "Pause a source, or let it go on",
        body=sources.SourcePatch, reply=(sources.Source,)),
    Operation("delete", routes.SOURCE, ADMIN, "End a source and its keys", status=204,
        more="What is pending for it is cancelled, what it holds of the pool goes back, its "
        "findings stay."),
    Operation("post", routes.SOURCE_KEYS, ADMIN, "Add a key, to rotate without downtime",
        body=sources.KeyCreate, reply=(sources.KeyCreated,), status=201,
        errors=(*_ONCE_SHOWN, _E.CONFLICT), more="Two keys may be live at a time."),
    Operation("delete", routes.SOURCE_KEY, ADMIN, "Revoke a key at once", status=204),
    Operation("get", routes.ENROLLMENT_TOKENS, VIEWER, "List enrollment tokens",
        query=(queries.PageQuery,), reply=(sources.EnrollmentTokenList,)),
    Operation("post", routes.ENROLLMENT_TOKENS, ADMIN, "Create an enrollment token",
        body=sources.EnrollmentTokenCreate, reply=(sources.EnrollmentTokenCreated,), status=201,
        errors=_ONCE_SHOWN),
    Operation("delete", routes.ENROLLMENT_TOKEN, ADMIN, "Revoke an enrollment token", status=204),
)  # fmt: skip

_FINDINGS: Final = (
    Operation("get", routes.FINDINGS, VIEWER, "List findings", query=(queries.FindingsQuery,),
        reply=(views.FindingPage,)),
    Operation("get", routes.FINDINGS_SARIF, VIEWER, "All findings that match, as SARIF 2.1.0",
        query=(queries.SarifQuery,), media=SARIF, more="One run a tool; open ones by default."),
    Operation("get", routes.FINDING, VIEWER, "One finding", reply=(views.StoredFinding,)),
    Operation("patch", routes.FINDING, OPERATOR, "Say what is to be done about a finding",
        body=views.FindingPatch, reply=(views.StoredFinding,)),
    Operation("get", routes.ASSETS, VIEWER, "List assets, and when each was last scanned whole",
        query=(queries.PageQuery,), reply=(views.AssetPage,)),
)  # fmt: skip

_UPKEEP: Final = (
    Operation("get", routes.HEALTHZ, ANYBODY, "The process is up", reply=(views.Health,)),
    Operation("get", routes.READYZ, ANYBODY, "The server can do its work",
        reply=(views.Readiness,)),
    Operation("get", routes.METRICS, VIEWER, "Metrics in Prometheus' text format",
        media="text/plain", more="Takes its own token instead, if one is set."),
    Operation("get", routes.OPENAPI, ANYBODY, "This document"),
    Operation("get", routes.DOCS, ANYBODY, "This document, to be read and tried",
        media="text/html"),
    Operation("get", routes.DOCS_FILE, ANYBODY, "A file of that page", media="*/*"),
)  # fmt: skip

OPERATIONS: Final[Mapping[str, tuple[Operation, ...]]] = {
    "Agents": _AGENTS,
    "Commands": _COMMANDS,
    "Schedules": _SCHEDULES,
    "Sources": _SOURCES,
    "Findings": _FINDINGS,
    "Operations": _UPKEEP,
}
