"""What the contract says of values, unknown fields and moves, whoever reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rediver_agent.contract import (
    MOVES,
    TERMINAL,
    CommandStatus,
    Heartbeat,
    Progress,
    Report,
    ScanCommand,
    Severity,
    UnknownCommand,
    dump,
    may_move,
    parse,
    parse_command,
    parse_message,
    parse_strict,
)

REPORT = {
    "version": "1.0",
    "metadata": {"id": "r1", "timestamp": "2024-01-16T10:00:00Z"},
    "tool": {"name": "semgrep"},
    "findings": [{"type": "secret", "title": "A key", "severity": "high"}],
}


def test_an_agent_ignores_fields_it_does_not_know_at_any_depth():
    document = {**REPORT, "new": 1, "metadata": {**REPORT["metadata"], "new": {"a": 1}}}

    assert parse(Report, document) == parse(Report, REPORT)


def test_a_request_with_an_unknown_field_is_refused_by_name():
    document = {**REPORT, "metadata": {**REPORT["metadata"], "new": 1}}

    with pytest.raises(ValidationError) as refused:
        parse_strict(Report, document)
    assert refused.value.errors()[0]["loc"] == ("metadata", "new")


def test_anything_goes_inside_properties():
    metadata = {**REPORT["metadata"], "properties": {"a": {"b": [1, None, "c"]}}}

    assert parse_strict(Report, {**REPORT, "metadata": metadata}).metadata.properties["a"]


@pytest.mark.parametrize(
    "time", ["2024-01-16T10:00:00", "1705399200", 1705399200, 1.5, "", "yesterday", None]
)
def test_a_time_without_a_zone_is_refused(time):
    with pytest.raises(ValidationError):
        parse(Report, {**REPORT, "metadata": {"id": "r1", "timestamp": time}})


@pytest.mark.parametrize(
    "time", ["2024-01-16T12:00:00+02:00", "2024-01-16T10:00:00.000000Z", "2024-01-16t10:00:00z"]
)
def test_a_time_in_any_zone_is_kept_in_utc(time):
    report = parse(Report, {**REPORT, "metadata": {"id": "r1", "timestamp": time}})

    assert dump(report)["metadata"]["timestamp"] == "2024-01-16T10:00:00Z"


def test_one_odd_command_of_a_poll_costs_only_itself():
    odd = parse_command({"id": "cmd_1", "type": "make_coffee", "payload": {"sugar": 2}})

    assert isinstance(odd, UnknownCommand)
    assert odd.payload == {"sugar": 2}


def test_a_known_type_with_a_bad_payload_is_an_error():
    with pytest.raises(ValidationError):
        parse_command({"id": "cmd_1", "type": "scan", "payload": {"target": "/srv"}})


@pytest.mark.parametrize("payload", [{}, None])
def test_a_health_check_needs_no_payload(payload):
    assert parse_command({"id": "cmd_1", "type": "health_check", "payload": payload}).id == "cmd_1"


@pytest.mark.parametrize("bad", ["cmd", "CMD_1", "cmd_", "cmd_a/b", "cmd_" + "a" * 33, "cmd_a?b"])
def test_an_id_that_could_not_stand_in_a_path_is_refused(bad):
    with pytest.raises(ValidationError):
        parse(ScanCommand, {"id": bad, "type": "scan", "payload": {"scanner": "a", "target": "b"}})


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), float("inf")])
def test_progress_is_from_0_to_100(percent):
    with pytest.raises(ValidationError):
        parse(Progress, {"percent": percent})


def test_an_unknown_websocket_message_is_nothing():
    assert parse_message({"type": "party"}) is None
    assert parse_message(["command_available"]) is None


def test_a_heartbeat_needs_only_name_and_status():
    assert dump(parse_strict(Heartbeat, {"name": "a", "status": "running"})) == {
        "name": "a",
        "status": "running",
    }


def test_severities_are_ordered_by_weight_and_not_by_letter():
    assert sorted(Severity) == [
        Severity.INFO,
        Severity.LOW,
        Severity.MEDIUM,
        Severity.HIGH,
        Severity.CRITICAL,
    ]
    assert max(Severity.LOW, Severity.CRITICAL) is Severity.CRITICAL


def test_no_move_leaves_a_terminal_state():
    assert {state for state in CommandStatus if not MOVES[state]} == TERMINAL


@given(st.lists(st.sampled_from(list(CommandStatus)), max_size=12))
def test_the_first_terminal_state_of_any_walk_is_its_last(wishes):
    state = CommandStatus.PENDING
    for index, wish in enumerate(wishes):
        if state in TERMINAL:
            assert not any(may_move(state, later) for later in wishes[index:])
            return
        state = wish if may_move(state, wish) else state
