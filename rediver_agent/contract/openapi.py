"""The contract as an OpenAPI 3.1 document, written from its models and its table of operations.

Requests are closed (what the server refuses by name, the schema refuses too), replies are open: a
client ignores what it does not know. Times, ids, lengths and ranges are those of the models.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from rediver_agent.contract import routes
from rediver_agent.contract.base import CONTRACT_VERSION
from rediver_agent.contract.commands import CommandCreate, CommandType, payload_model
from rediver_agent.contract.errors import ErrorBody, ErrorCode
from rediver_agent.contract.examples import EXAMPLES
from rediver_agent.contract.operations import JSON, OPERATIONS, RATE, Model, Operation

Document = dict[str, Any]

_REF: Final = "#/components/schemas/{model}"
_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 100}
_FILE: Final = {"type": "string", "maxLength": 100}
_WHOLE: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}
_HEADERS: Final[Mapping[str, Document]] = {
    name: {"description": description, "schema": schema}
    for name, description, schema in (
        (routes.SOURCE_ID_HEADER, "The source of the key; if it is another one: 403.", _TEXT),
        (
            routes.IDEMPOTENCY_KEY,
            "The same key and body within 24 hours answers what the first did.",
            {"type": "string", "minLength": 1, "maxLength": 255},
        ),
        (routes.REQUEST_ID_HEADER, "What the server's log calls this request.", _TEXT),
        (routes.CONTRACT_HEADER, "The version of the contract.", {"const": CONTRACT_VERSION}),
        (routes.RATE_LIMIT, "Commands a minute. Absent where no rate is set.", _WHOLE),
        (routes.RATE_REMAINING, "What may be created at once.", _WHOLE),
        (routes.RATE_RESET, "Seconds until the whole burst is there again.", _WHOLE),
        (routes.RETRY_AFTER, "Seconds to wait.", _WHOLE),
        ("Location", "Where the new one is.", {"type": "string", "format": "uri-reference"}),
        ("WWW-Authenticate", "How to authenticate.", {"const": "Bearer"}),
    )
}
_OPTIONAL: Final = (*RATE, routes.SOURCE_ID_HEADER, routes.IDEMPOTENCY_KEY)
_OF_A_STATUS: Final[Mapping[int, tuple[str, ...]]] = {
    201: ("Location",),
    401: ("WWW-Authenticate",),
    429: (routes.RETRY_AFTER,),
    503: (routes.RETRY_AFTER,),
}
_SCHEMES: Final = {
    "sourceKey": ("source", "`rs_src_…`: the key of one source, an agent."),
    "userKey": ("viewer operator admin", "`rs_usr_…`: of a tenant, with a role: `x-roles`."),
    "enrollmentToken": ("enroll", "`rs_enr_…`: makes a source, and nothing else."),
}
_INTRODUCTION: Final = """What agents and a Rediver server say to each other, and operators to it.

JSON in UTF-8, `Content-Encoding: gzip` is accepted, a body has at most 10 MB as sent and inflated.
Times are RFC 3339 in UTC; one without a zone is refused. Unknown fields of a request are refused,
unknown fields of a reply are to be ignored. The tenant always comes from the key: what belongs to
another tenant is 404, exactly like what does not exist. Where everything is optional the body may
be left out. Every error is `{"error": {"code", "message", "details"}}`, and every response carries
`X-Request-ID`."""


class _Schemas(GenerateJsonSchema):
    """Models that are read are closed, as `parse_strict` reads them."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False  # its name says it

    def model_schema(self, schema: Any) -> Document:
        document = super().model_schema(schema)
        del document["title"]
        if self.mode == "validation":
            document["additionalProperties"] = False
        changes = schema["cls"].__name__.endswith("Patch")  # what it leaves out stays as it is
        for field in document.get("properties", {}).values():
            if changes or field.get("default") is None:
                field.pop("default", None)
        return document


def openapi_document() -> Document:
    """The whole document, ready for JSON."""
    requests = {op.body for op in _operations() if op.body} | _payloads()
    replies = {model for op in _operations() for model in op.reply} | {ErrorBody}
    modes: list[tuple[Model, JsonSchemaMode]] = [
        *((model, "validation") for model in sorted(requests, key=str)),
        *((model, "serialization") for model in sorted(replies, key=str)),
    ]
    named, definitions = models_json_schema(
        modes, ref_template=_REF, schema_generator=_Schemas, by_alias=True
    )
    schemas = definitions["$defs"]
    references = {key: _local(value) for key, value in named.items()}
    _tell_orders_apart(schemas, references)
    paths: Document = {}
    for tag, operations in OPERATIONS.items():
        for operation in operations:
            described = _operation(operation, references) | {"tags": [tag]}
            paths.setdefault(operation.path, {})[operation.method] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rediver",
            "version": CONTRACT_VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in OPERATIONS],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {code: _refusal([code], references) for code in ErrorCode},
            "headers": {
                name: {**header, "required": name not in _OPTIONAL}
                for name, header in _HEADERS.items()
            },
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": text}
                for name, (_, text) in _SCHEMES.items()
            },
        },
    }


def _operations() -> Iterable[Operation]:
    return (operation for group in OPERATIONS.values() for operation in group)


def _payloads() -> set[Model]:
    return {model for name in CommandType if (model := payload_model(name))}


def _local(schema: Mapping[str, Any]) -> Document:
    return {"$ref": schema["$ref"]}


def _tell_orders_apart(schemas: Document, references: Mapping[Any, Document]) -> None:
    """Give each command type its own order, with its own payload; plugins may add types."""
    create = references[(CommandCreate, "validation")]["$ref"].rpartition("/")[2]
    order = schemas[create]
    orders: dict[str, Document] = {}
    for name in CommandType:
        payload = references[(payload_model(name), "validation")]
        own = {"type": {"const": name.value}, "payload": payload}
        orders[f"{name.value.title().replace('_', '')}Order"] = own
    known = {"not": {"enum": [name.value for name in CommandType]}}
    orders["PluginOrder"] = {"type": {**order["properties"]["type"], **known}}
    for name, own in orders.items():
        properties = {**order["properties"], **own}
        schemas[name] = {**order, "properties": properties, "description": order["description"]}
    names = [_REF.format(model=name) for name in orders]
    schemas[create] = {
        "description": order["description"],
        "oneOf": [{"$ref": name} for name in names],
    }


def _operation(operation: Operation, references: Mapping[Any, Document]) -> Document:
    document: Document = {
        "operationId": _operation_id(operation),
        "summary": operation.summary,
        "parameters": [*_in_path(operation), *_in_query(operation), *_in_headers(operation)],
        "responses": _responses(operation, references),
        "x-roles": list(operation.roles),
        "security": [
            {name: []}
            for name, (roles, _) in _SCHEMES.items()
            if set(roles.split()) & set(operation.roles)
        ],
    }
    if operation.more:
        document["description"] = operation.more
    if operation.body:
        fields = operation.body.model_fields.values()
        content = _content(operation.body, references[(operation.body, "validation")])
        document["requestBody"] = {
            "required": any(field.is_required() for field in fields),
            "content": {JSON: content},
        }
    return document


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[a-z]+", operation.path.removeprefix(routes.API).replace("_id", ""))
    return "_".join([operation.method, *words])


def _in_path(operation: Operation) -> list[Document]:
    return [
        {"name": name, "in": "path", "required": True, "schema": _FILE if name == "file" else _ID}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]


def _in_query(operation: Operation) -> list[Document]:
    """The parameters of all kinds of caller. Where two take the same one, the wider comes last."""
    schemas: dict[str, Document] = {}
    for model in operation.query:
        definitions = model.model_json_schema(schema_generator=_Schemas, ref_template="{model}")
        for name, schema in definitions["properties"].items():
            either = schema.get("anyOf", [schema])
            plain = next(each for each in either if each.get("type") != "null")
            whole = {**definitions["$defs"][plain["$ref"]]} if "$ref" in plain else {**plain}
            whole.pop("title", None)
            if schema.get("default") is not None:
                whole["default"] = schema["default"]
            if name in schemas:
                whole.pop("default", None)
            schemas[name] = whole
    return [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.items()]


def _in_headers(operation: Operation) -> list[Document]:
    names = [
        *([routes.SOURCE_ID_HEADER] if "source" in operation.roles else []),
        *([routes.IDEMPOTENCY_KEY] if ErrorCode.IDEMPOTENCY_MISMATCH in operation.errors else []),
    ]
    return [{"name": name, "in": "header", **_HEADERS[name]} for name in names]


def _sent(*names: str) -> Document:
    """Headers of a response."""
    always = (routes.REQUEST_ID_HEADER, routes.CONTRACT_HEADER)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*always, *names)}


def _responses(operation: Operation, references: Mapping[Any, Document]) -> Document:
    success: Document = {"description": operation.summary}
    if operation.reply:
        first, *others = operation.reply
        content = _content(first, references[(first, "serialization")])
        for other in others:
            more = _content(other, references[(other, "serialization")])
            either = [*content["schema"].get("oneOf", [content["schema"]]), more["schema"]]
            content = {
                "schema": {"oneOf": either},
                "examples": {**content.get("examples", {}), **more.get("examples", {})},
            }
        success["content"] = {operation.media: content}
    elif operation.status == 200:
        kind = "string" if operation.media.startswith(("text/", "*/")) else "object"
        success["content"] = {operation.media: {"schema": {"type": kind}}}
    success["headers"] = _sent(*_OF_A_STATUS.get(operation.status, ()), *operation.headers)
    refusals: Document = {}
    for status, codes in groupby(sorted(_errors(operation), key=_status), key=_status):
        names = sorted(codes)
        shared = {"$ref": f"#/components/responses/{names[0]}"}
        refusals[str(status)] = shared if len(names) == 1 else _refusal(names, references)
    return {str(operation.status): success, **refusals}


def _status(code: ErrorCode) -> int:
    return code.status


def _errors(operation: Operation) -> set[ErrorCode]:
    """An operation's own errors, and those that follow from what it is."""
    errors = {*operation.errors, ErrorCode.INTERNAL_ERROR, ErrorCode.UNAVAILABLE}
    if operation.roles:
        errors |= {ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN, ErrorCode.RATE_LIMITED}
    if "{" in operation.path:
        errors.add(ErrorCode.NOT_FOUND)
    if operation.query or operation.body:
        errors.add(ErrorCode.INVALID_REQUEST)
    if operation.body:
        errors |= {ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA_TYPE}
    return errors


def _refusal(codes: Sequence[ErrorCode], references: Mapping[Any, Document]) -> Document:
    code = {"properties": {"error": {"properties": {"code": {"enum": list(codes)}}}}}
    schema = {"allOf": [references[(ErrorBody, "serialization")], code]}
    return {
        "description": ", ".join(codes),
        "headers": _sent(*_OF_A_STATUS.get(codes[0].status, ())),
        "content": {JSON: {"schema": schema}},
    }


def _content(model: type[BaseModel], schema: Document) -> Document:
    examples = {name: {"value": value} for name, value in EXAMPLES.get(model, {}).items()}
    return {"schema": schema, **({"examples": examples} if examples else {})}
