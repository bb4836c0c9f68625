"""Reads requests and writes replies: JSON in, JSON out, and nothing that JSON forbids.

A body is read up to 10 MiB as sent and as inflated, and no further: a gzip bomb is cut off while
it inflates. Whatever is wrong with it is a 4xx that says what.
"""

import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from flask import Response, request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from rediver_agent.contract import ErrorCode, parse_strict
from rediver_server.errors import ApiError, from_validation, invalid

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
MAX_NESTING: Final = 100
_CHUNK: Final = 64 * 1024
_LARGEST: Final = sys.float_info.max
_GZIP: Final = 31  # zlib's window size, plus 16 for gzip's frame

Model = TypeVar("Model", bound=BaseModel)


def rule(route: str) -> str:
    """A path of the contract as Flask spells it; the converter `id` is in `app.py`."""
    return route.replace("{id}", "<id:item>").replace("{key_id}", "<id:key>")


def read_body(model: type[Model]) -> Model:
    """The request's body as a model; no body counts as `{}`. Raises 400, 413 or 415."""
    document = _document()
    if not isinstance(document, dict):
        raise invalid("", "the body is a JSON object")
    try:
        return parse_strict(model, cast("object", document))
    except ValidationError as fault:
        raise from_validation(fault) from fault


def read_query(model: type[Model]) -> Model:
    """The request's query as a model; unknown, repeated and malformed parameters are 400."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise invalid(name, "given more than once")
        if "\0" in values[0]:
            raise invalid(name, "has a NUL character")
    try:
        return parse_strict(model, request.args.to_dict())
    except ValidationError as fault:
        raise from_validation(fault) from fault


def reply(document: BaseModel | Mapping[str, Any], status: int = 200, **headers: str) -> Response:
    """A JSON reply. Times become RFC 3339 in UTC."""
    response = Response(to_json(document), status, mimetype="application/json")
    for name, value in headers.items():
        response.headers[name] = value
    return response


def no_content() -> Response:
    return Response(status=204)


def _document() -> Any:
    body = b"".join(_inflated())
    if not body and not request.content_type:
        return {}
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise ApiError(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            "send application/json in UTF-8, with this as its type",
        )
    if not body:
        return {}
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as fault:
        raise invalid("", f"the body is not JSON: {fault}") from fault
    _check(document)
    return document


def _received() -> Iterator[bytes]:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    received = 0
    while chunk := request.stream.read(_CHUNK):
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise _too_large()
        yield chunk


def _inflated() -> Iterator[bytes]:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"{encoding} is not read here, send gzip")
    if encoding != "gzip":
        yield from _received()
        return
    decoder = zlib.decompressobj(_GZIP)
    room = MAX_BODY_BYTES
    sent = False
    for chunk in _received():
        sent = True
        try:
            piece = decoder.decompress(chunk, room + 1)
        except zlib.error as fault:
            raise invalid("", f"the body is not gzip: {fault}") from fault
        room -= len(piece)
        if room < 0:
            raise _too_large()
        yield piece
    if sent and (not decoder.eof or decoder.unused_data):
        raise invalid(
            "", "the body is not one whole gzip member: it is cut off, or more follows it"
        )


def _too_large() -> ApiError:
    limit = f"{MAX_BODY_BYTES} bytes"
    return ApiError(
        ErrorCode.PAYLOAD_TOO_LARGE, f"a body may have {limit}, as sent and inflated; send parts"
    )


def _check(document: Any) -> None:
    """Refuse what the parser lets through and a database or another JSON reader would not."""
    level, depth = [document], 0
    while level:
        depth += any(isinstance(value, dict | list) for value in level)
        if depth > MAX_NESTING:
            raise invalid("", f"the body is nested more than {MAX_NESTING} deep")
        level = [child for value in level for child in _children(value)]


def _children(value: Any) -> Iterator[Any]:
    """What a value holds, keys included, once the value itself is found sound."""
    if isinstance(value, dict):
        yield from value.keys()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON
        yield from value.values()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - JSON
    elif isinstance(value, list):
        yield from value  # pyright: ignore[reportUnknownVariableType] - JSON
    elif isinstance(value, str):
        if "\0" in value:
            raise invalid("", "a string has a NUL character")
    elif isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
        raise invalid("", "a number overflows a double")
