"""Examples of requests and replies, by model. Those of the origin document are here as they are.

A test reads each with its own model, so that none shows what the wire refuses.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from rediver_agent.contract import (
    batches,
    commands,
    findings,
    heartbeat,
    results,
    schedules,
    sources,
    views,
)
from rediver_agent.contract.errors import ErrorBody

_MADE: Final = "2024-01-16T10:00:00Z"
_LEASE: Final = "2024-01-16T10:01:05Z"
_ENDED: Final = "2024-01-16T10:05:00Z"

_OFFERED: Final[dict[str, Any]] = {
    "id": "cmd_abc123",
    "type": "scan",
    "priority": "high",
    "created_at": _MADE,
    "expires_at": "2024-01-16T11:00:00Z",
    "payload": {
        "scanner": "semgrep",
        "target": "/opt/code/myapp",
        "config": {"rules": ["p/security-audit"], "exclude": ["**/test/**"]},
        "timeout_seconds": 1800,
    },
}
_CLAIMED: Final = {**_OFFERED, "attempt": 1, "lease_expires_at": _LEASE}
_COMMAND: Final = {
    **_OFFERED,
    "tenant_id": "ten_acme",
    "source_id": "src_abc123",
    "status": "pending",
    "attempt": 0,
    "max_attempts": 3,
    "cancel_requested": False,
    "waiting_reason": "source_offline",
}
_SCAN: Final = {
    "type": "scan",
    "payload": {
        "scanner": "semgrep",
        "target": "/opt/code/project",
        "config": {
            "rules": ["p/security-audit", "p/owasp-top-ten"],
            "exclude": ["**/vendor/**", "**/node_modules/**"],
            "severity_threshold": "warning",
        },
        "timeout_seconds": 1800,
        "report_progress": True,
    },
}
_COLLECT: Final = {
    "type": "collect",
    "payload": {
        "collector": "github",
        "source_config": {
            "repository": "org/repo",
            "since": "2024-01-01T00:00:00Z",
            "alert_types": ["dependabot", "code-scanning", "secret-scanning"],
        },
    },
}
_RESULT: Final = {
    "status": "completed",
    "completed_at": _ENDED,
    "duration_ms": 295000,
    "exit_code": 0,
    "findings_count": 15,
    "error": None,
    "metadata": {"scanner_version": "1.50.0", "targets_scanned": 150},
}
_FAILED: Final = {
    "status": "failed",
    "completed_at": _ENDED,
    "error": "semgrep is not on PATH; install it or set scanners[].binary",
    "metadata": {"reason": "tool_missing"},
    "attempt": 1,
}
_STALE: Final[dict[str, Any]] = {
    "code": "STALE_ATTEMPT",
    "message": "this attempt's lease was given to somebody else",
    "details": {},
}
_FINDING: Final = {
    "type": "vulnerability",
    "title": "SQL built from user input",
    "severity": "high",
    "rule_id": "python.sqlalchemy.raw-query",
    "location": {"path": "app/db.py", "start_line": 42, "snippet": "db.execute(query)"},
}
_STORED: Final = {
    **_FINDING,
    "id": "fnd_abc123",
    "asset_id": "ast_abc123",
    "tool": "semgrep",
    "fingerprint": "rediver/v1:4be1",
    "coverage_key": "",
    "status": "open",
    "status_reason": None,
    "status_by": None,
    "status_at": _ENDED,
    "first_seen_at": _ENDED,
    "last_seen_at": _ENDED,
    "occurrence_count": 1,
    "source_ids": ["src_abc123"],
}
_REPORT: Final = {
    "version": "1.0",
    "metadata": {"id": "rep-1", "timestamp": _ENDED, "command_id": "cmd_abc123", "attempt": 1},
    "tool": {"name": "semgrep", "version": "1.50.0"},
    "assets": [{"id": "app", "type": "repository", "value": "git.example/acme/app"}],
    "findings": [{**_FINDING, "fingerprint": "rediver/v1:4be1", "asset_ref": "app"}],
}
_HEARTBEAT: Final = {
    "name": "build-host-1",
    "status": "running",
    "version": "0.1.0",
    "scanners": ["semgrep", "trivy"],
    "command_types": ["scan", "health_check", "cancel"],
    "running": [{"command_id": "cmd_abc123", "attempt": 1}],
}
_NIGHTLY: Final = {
    "name": "nightly",
    "scanner": "semgrep",
    "target": "/opt/code/project",
    "cron_expression": "0 2 * * *",
    "timezone": "Europe/Berlin",
}
_SCHEDULE: Final = {
    **_NIGHTLY,
    "id": "sch_abc123",
    "tenant_id": "ten_acme",
    "next_run_at": "2024-01-17T01:00:00Z",
    "created_at": _MADE,
    "updated_at": _MADE,
}
_NEW_SOURCE: Final = {
    "id": "src_abc123",
    "api_key": "rs_src_…",
    "api_key_prefix": "rs_src_Zk3vQ1x",
    "name": "build-host-1",
    "type": "agent",
    "status": "pending",
    "created_at": _MADE,
}
_ERROR: Final = {
    "code": "INVALID_REQUEST",
    "message": "payload.scanner: required",
    "details": {"field": "payload.scanner", "reason": "required"},
}

EXAMPLES: Final[Mapping[type[BaseModel], Mapping[str, Any]]] = {
    views.PollReply: {"origin": {"commands": [_OFFERED], "poll_interval_seconds": 30}},
    views.CommandPage: {"list": {"commands": [_COMMAND], "next_cursor": None}},
    batches.Claim: {"claim": {"claim_id": "7d1c", "limit": 2, "types": ["scan"]}},
    views.ClaimReply: {"claimed": {"commands": [_CLAIMED], "poll_interval_seconds": 30}},
    results.Acknowledge: {"origin": {"started_at": "2024-01-16T10:00:05Z"}},
    results.Acknowledged: {
        "origin": {"acknowledged": True, "command_id": "cmd_abc123"},
        "whole": {
            "acknowledged": True,
            "command_id": "cmd_abc123",
            "attempt": 1,
            "lease_expires_at": _LEASE,
        },
    },
    results.Progress: {"half": {"attempt": 1, "percent": 50, "message": "75 of 150 files"}},
    results.ProgressReply: {"renewed": {"lease_expires_at": _LEASE, "cancel_requested": False}},
    results.CommandResult: {"origin": _RESULT, "failed": _FAILED},
    results.ResultReply: {
        "kept": {"accepted": True, "command_id": "cmd_abc123", "status": "completed"}
    },
    batches.ResultBatch: {"results": {"results": [{"command_id": "cmd_abc123", **_RESULT}]}},
    batches.ResultBatchReply: {
        "results": {
            "results": [
                {"command_id": "cmd_abc123", "status": 200},
                {"command_id": "cmd_abc124", "status": 409, "error": _STALE},
            ]
        }
    },
    heartbeat.Heartbeat: {"busy": _HEARTBEAT},
    heartbeat.HeartbeatReply: {
        "ok": {"success": True, "server_time": _MADE, "cancel": ["cmd_abc123"], "lost": []}
    },
    findings.Report: {"report": _REPORT},
    findings.IngestReply: {"kept": {"success": True, "findings_created": 1}},
    sources.Enroll: {"enroll": {"name": "build-host-1", "hostname": "build-1.example"}},
    sources.SourceCreate: {"agent": {"name": "build-host-1", "type": "agent"}},
    sources.SourceCreated: {"created": _NEW_SOURCE},
    sources.SourcePatch: {"pause": {"paused": True}},
    sources.KeyCreate: {"key": {"expires_at": "2034-01-16T10:00:00Z"}},
    sources.EnrollmentTokenCreate: {"ten": {"max_uses": 10, "ttl_seconds": 3600}},
    commands.CommandCreate: {"origin scan": _SCAN, "origin collect": _COLLECT},
    commands.Command: {"pending": _COMMAND},
    batches.CommandBatch: {"two": {"commands": [{**_SCAN, "idempotency_key": "a-1"}, _COLLECT]}},
    batches.BulkCancel: {"of a source": {"status": "pending", "source_id": "src_abc123"}},
    batches.BulkCancelReply: {"done": {"cancelled": 3, "requested": 1}},
    schedules.ScheduleCreate: {"nightly": _NIGHTLY},
    schedules.SchedulePatch: {"off": {"enabled": False}},
    schedules.Schedule: {"nightly": _SCHEDULE},
    views.Nothing: {"nothing": {}},
    schedules.Upcoming: {"next": {"upcoming": ["2024-01-17T01:00:00Z", "2024-01-18T01:00:00Z"]}},
    views.FindingPatch: {"excuse": {"status": "accepted_risk", "reason": "test data"}},
    views.StoredFinding: {"open": _STORED},
    ErrorBody: {"error": {"error": _ERROR}},
}
