"""Every JSON example of the origin document, quoted verbatim, parses and loses nothing."""

import json
from pathlib import Path

import pytest

from rediver_agent.contract import (
    Acknowledge,
    Acknowledged,
    CollectCommand,
    CollectPayload,
    CommandCreate,
    CommandList,
    CommandResult,
    ScanCommand,
    ScanPayload,
    parse,
    parse_command,
    parse_message,
    parse_strict,
)

ORIGIN = Path(__file__).parents[3] / "shared" / "reference" / "server-agent-command.md"

POLL_REPLY = """{
  "commands": [
    {
      "id": "cmd_abc123",
      "type": "scan",
      "priority": "high",
      "created_at": "2024-01-16T10:00:00Z",
      "expires_at": "2024-01-16T11:00:00Z",
      "payload": {
        "scanner": "semgrep",
        "target": "/opt/code/myapp",
        "config": {
          "rules": ["p/security-audit"],
          "exclude": ["**/test/**"]
        },
        "timeout_seconds": 1800
      }
    }
  ],
  "poll_interval_seconds": 30
}"""

ACKNOWLEDGE = """{
  "started_at": "2024-01-16T10:00:05Z"
}"""

ACKNOWLEDGED = """{
  "acknowledged": true,
  "command_id": "cmd_abc123"
}"""

RESULT = """{
  "status": "completed",
  "completed_at": "2024-01-16T10:05:00Z",
  "duration_ms": 295000,
  "exit_code": 0,
  "findings_count": 15,
  "error": null,
  "metadata": {
    "scanner_version": "1.50.0",
    "targets_scanned": 150
  }
}"""

SCAN = """{
  "type": "scan",
  "payload": {
    "scanner": "semgrep",
    "target": "/opt/code/project",
    "config": {
      "rules": ["p/security-audit", "p/owasp-top-ten"],
      "exclude": ["**/vendor/**", "**/node_modules/**"],
      "severity_threshold": "warning"
    },
    "timeout_seconds": 1800,
    "report_progress": true
  }
}"""

COLLECT = """{
  "type": "collect",
  "payload": {
    "collector": "github",
    "source_config": {
      "repository": "org/repo",
      "since": "2024-01-01T00:00:00Z",
      "alert_types": ["dependabot", "code-scanning", "secret-scanning"]
    }
  }
}"""

COMMAND_AVAILABLE = '{"type": "command_available"}'
CONFIG_UPDATE = '{"type": "config_update"}'

EXAMPLES = [
    (POLL_REPLY, CommandList),
    (ACKNOWLEDGE, Acknowledge),
    (ACKNOWLEDGED, Acknowledged),
    (RESULT, CommandResult),
    (SCAN, CommandCreate),
    (COLLECT, CommandCreate),
]


@pytest.mark.parametrize(
    ("text", "model"), EXAMPLES, ids=lambda item: getattr(item, "__name__", "")
)
def test_an_example_of_the_origin_document_round_trips(text, model):
    document = json.loads(text)

    for reader in (parse, parse_strict):
        assert json.loads(reader(model, document).model_dump_json(exclude_unset=True)) == document


@pytest.mark.parametrize("text", [COMMAND_AVAILABLE, CONFIG_UPDATE])
def test_a_websocket_message_of_the_origin_document_round_trips(text):
    message = parse_message(json.loads(text))

    assert message is not None
    assert json.loads(message.model_dump_json()) == json.loads(text)


def test_the_polled_command_is_a_scan_with_its_own_payload():
    (raw,) = parse(CommandList, json.loads(POLL_REPLY)).commands
    command = parse_command(raw)

    assert isinstance(command, ScanCommand)
    assert command.payload.target == "/opt/code/myapp"
    assert json.loads(command.model_dump_json(exclude_unset=True)) == raw


def test_the_payload_examples_are_those_of_their_types():
    scan, collect = json.loads(SCAN), json.loads(COLLECT)

    assert parse_strict(ScanPayload, scan["payload"]).report_progress is True
    assert parse_strict(CollectPayload, collect["payload"]).collector == "github"
    assert isinstance(parse_command({"id": "cmd_1", **scan}), ScanCommand)
    assert isinstance(parse_command({"id": "cmd_1", **collect}), CollectCommand)


def test_the_examples_stand_in_the_origin_document_word_for_word():
    if not ORIGIN.exists():
        pytest.skip("../shared/reference/server-agent-command.md is not here")
    origin = ORIGIN.read_text(encoding="utf-8")

    for text, _ in EXAMPLES:
        assert f"```json\n{text}\n```" in origin
    for text in (COMMAND_AVAILABLE, CONFIG_UPDATE):
        assert text in origin
    quoted = sum(f"```json\n{text}\n```" in origin for text, _ in EXAMPLES)
    assert origin.count("```json") == quoted, "the origin has an example that no test quotes"
