"""The published contract: whole, closed where the server refuses, and true to its own examples."""

import json
import re
from pathlib import Path

import jsonschema_rs
import pytest
from pydantic import ValidationError

from rediver_agent.contract import CommandCreate, CommandType, parse, parse_strict, routes
from rediver_agent.contract.examples import EXAMPLES
from rediver_agent.contract.openapi import openapi_document
from rediver_agent.contract.operations import OPERATIONS

ORIGIN = Path(__file__).parents[3] / "shared" / "reference" / "server-agent-command.md"
DOCUMENT = openapi_document()
CALLS = {
    f"{method} {path}": call
    for path, methods in DOCUMENT["paths"].items()
    for method, call in methods.items()
}
SHOWN = [(model, value) for model, named in EXAMPLES.items() for value in named.values()]


def validator(schema):
    """Of a part of the document, which may point to its components."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def contents(call):
    """Every schema of a call with its examples."""
    bodies = [call["requestBody"]] if "requestBody" in call else []
    for body in [*bodies, *call["responses"].values()]:
        for content in body.get("content", {}).values():
            examples = content.get("examples", {}).values()
            yield content["schema"], [example["value"] for example in examples]


def test_it_survives_json_and_names_its_version():
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_path_of_the_contract_is_there():
    spelled = (value for name, value in vars(routes).items() if name.isupper())
    paths = {value for value in spelled if value.startswith("/")}
    assert set(DOCUMENT["paths"]) == paths - {routes.API}


def test_every_call_has_a_name_of_its_own_a_summary_and_roles():
    names = [call["operationId"] for call in CALLS.values()]
    assert len(set(names)) == len(names)
    for name, call in CALLS.items():
        assert call["summary"], name
        assert bool(call["x-roles"]) == bool(call["security"]) == ("401" in call["responses"])


def test_every_reference_leads_somewhere():
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))):
        place = DOCUMENT
        for step in reference.split("/"):
            place = place[step]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_one(name):
    validator(DOCUMENT["components"]["schemas"][name])


@pytest.mark.parametrize(("model", "value"), SHOWN, ids=lambda item: getattr(item, "__name__", ""))
def test_every_example_is_read_by_its_own_model(model, value):
    asked = model in {operation.body for group in OPERATIONS.values() for operation in group}
    read = (parse_strict if asked else parse)(model, value)
    assert json.loads(read.model_dump_json(exclude_unset=True, by_alias=True)) == value


@pytest.mark.parametrize("name", CALLS)
def test_every_example_fits_the_schema_beside_it(name):
    for schema, examples in contents(CALLS[name]):
        for example in examples:
            validator(schema).validate(example)


def test_every_request_shows_an_example():
    for name, call in CALLS.items():
        if "requestBody" in call:
            assert call["requestBody"]["content"]["application/json"]["examples"], name


def test_the_examples_of_the_origin_document_are_among_them():
    if not ORIGIN.exists():
        pytest.skip("../shared/reference/server-agent-command.md is not here")
    blocks = re.findall(r"```json\n(.*?)\n```", ORIGIN.read_text(encoding="utf-8"), re.DOTALL)
    shown = [example for call in CALLS.values() for _, each in contents(call) for example in each]
    assert len(blocks) == 6
    for block in blocks:
        assert json.loads(block) in shown


def test_a_request_is_closed_wherever_the_server_refuses_unknown_fields():
    schemas, waiting, seen = DOCUMENT["components"]["schemas"], [], set()
    for call in CALLS.values():
        waiting += re.findall(r"schemas/([\w-]+)", json.dumps(call.get("requestBody", {})))
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += re.findall(r"schemas/([\w-]+)", json.dumps(schemas[name]))
    opened = {name for name in seen if schemas[name].get("type") == "object"}
    assert {"ScanPayload", "Report", "Location-Input", "RunningCommand"} < opened
    for name in opened:
        assert schemas[name]["additionalProperties"] is False, name


def test_a_reply_may_grow():
    reply = {"allowed": True, **EXAMPLES[CommandCreate]["origin scan"], "id": "cmd_1"}
    validator({"$ref": "#/components/schemas/Command"}).validate(reply)


ORDERS = [
    ({"type": "scan", "payload": {"scanner": "semgrep", "target": "/srv"}}, True),
    ({"type": "scan", "payload": {"target": "/srv"}}, False),
    ({"type": "scan", "payload": {"scanner": "s", "target": "t", "timeout_seconds": 0}}, False),
    ({"type": "scan", "payload": {"scanner": "s", "target": "t", "other": 1}}, False),
    ({"type": "cancel", "payload": {}}, False),
    ({"type": "health_check", "payload": {"a": 1}}, False),
    ({"type": "health_check", "payload": {}}, True),
    ({"type": "health_check"}, False),
    ({"type": "a_plugins_own", "payload": {"anything": {"goes": [1]}}}, True),
    ({"type": "Not a type", "payload": {}}, False),
    ({"type": "health_check", "payload": {}, "ttl_seconds": 0}, False),
    ({"type": "health_check", "payload": {}, "unknown": 0}, False),
]


@pytest.mark.parametrize(("order", "good"), ORDERS)
def test_an_order_is_judged_by_its_own_types_payload(order, good):
    assert validator({"$ref": "#/components/schemas/CommandCreate"}).is_valid(order) is good
    if good:
        parse_strict(CommandCreate, order)


def test_each_of_the_seven_types_has_an_order():
    names = json.dumps(DOCUMENT["components"]["schemas"]["CommandCreate"])
    assert names.count("#/components/schemas/") == len(CommandType) + 1


@pytest.mark.parametrize("types", ["scan", "scan,collect", "", "scan,", "Scan", "scan collect"])
def test_the_types_of_a_poll_are_as_strict_as_their_schema(types):
    poll = OPERATIONS["Agents"][0].query[0]
    (said,) = (
        parameter["schema"]
        for parameter in CALLS[f"get {routes.COMMANDS}"]["parameters"]
        if parameter["name"] == "types"
    )
    good = validator(said).is_valid(types)
    assert good == (types in ("scan", "scan,collect"))
    if good:
        parse_strict(poll, {"types": types})
    else:
        with pytest.raises(ValidationError):
            parse_strict(poll, {"types": types})
