"""Reads requests and writes replies: JSON in, JSON out, and nothing that JSON forbids.

A body is read up to 10 MiB as sent and as inflated, and no further: a gzip bomb is cut off while
it inflates. Whatever is wrong with it is a 4xx that says what.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from flask import Response, g, request
from gunicorn.http.errors import ParseException
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from rediver_agent.contract import ErrorCode, parse_strict
from rediver_agent.contract.strict_json import decode
from rediver_server.errors import ApiError, from_validation, invalid

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
_CHUNK: Final = 64 * 1024
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
    g.document = document
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
        return decode(body)
    except ValueError as fault:
        raise invalid("", str(fault)) from fault


def _received() -> Iterator[bytes]:
    promised, received = request.content_length or 0, 0
    if promised > MAX_BODY_BYTES:
        raise _too_large()
    try:
        while chunk := request.stream.read(_CHUNK):
            received += len(chunk)
            if received > MAX_BODY_BYTES:
                raise _too_large()
            yield chunk
    except (ParseException, OSError) as fault:
        raise invalid("", f"the body cannot be read: {fault}") from fault
    if received < promised:  # or nothing of a body would be `{}`, which may mean: all
        raise invalid("", f"the body was cut off after {received} of {promised} bytes")


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
