"""One delivery, from bytes that anybody may have sent to a JSON object that GitHub has signed.

Nothing is parsed before the signature over the raw bytes is right. What is wrong raises `Refused`
with the answer that it gets; nothing else is raised for any bytes.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast
from urllib.parse import parse_qs

MAX_DEPTH: Final = 100  # GitHub's go 10 deep
MAX_ID: Final = 200
FORM: Final = b"application/x-www-form-urlencoded"
_SIGNATURE: Final = b"x-hub-signature-256"


class Refused(Exception):
    """The answer to what cannot be taken: an HTTP status, what is counted, and a sentence."""

    def __init__(self, status: int, count: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.count = count


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery whose signature is right."""

    id: str
    event: str
    payload: Mapping[str, Any]


def delivery(
    headers: Sequence[tuple[bytes, bytes]], body: bytes, secrets: Iterable[bytes]
) -> Delivery:
    """Read one. Raises `Refused`."""
    if not _is_signed(_only(headers, _SIGNATURE), body, secrets):
        raise Refused(
            401,
            "wrong signature",
            "X-Hub-Signature-256 is missing or wrong: the secret here and the one in the webhook's "
            "settings must be the same",
        )
    event = _only(headers, b"x-github-event")
    if event is None or not event.replace(b"_", b"").isalnum():
        raise Refused(400, "malformed", "there is no X-GitHub-Event that names an event")
    text = _payload_of_form(body) if _is_form(headers) else body
    return Delivery(_id(headers, body), event.decode("ascii"), _parsed(text))


def _is_signed(given: bytes | None, body: bytes, secrets: Iterable[bytes]) -> bool:
    """Whether one of the secrets made this signature. No one can tell from the time it takes."""
    right = False
    for secret in secrets:
        expected = b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        right |= hmac.compare_digest(expected, given or b"")
    return right


def _only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """A header's value, if it is there exactly once: of two, nobody knows which one counts."""
    values = [value for header, value in headers if header == name]
    return values[0] if len(values) == 1 else None


def _id(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
    """What tells deliveries apart. One without an id of GitHub's is told by what it says."""
    given = _only(headers, b"x-github-delivery")
    if given and len(given) <= MAX_ID:
        return given.decode("latin-1")
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _is_form(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    kind = _only(headers, b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == FORM


def _payload_of_form(body: bytes) -> bytes:
    """GitHub can send the JSON in the field `payload` of a form."""
    try:
        fields = parse_qs(body.decode("ascii"), errors="strict", max_num_fields=10)
    except ValueError:  # a UnicodeDecodeError is one
        _malformed("the form cannot be read")
    if len(fields.get("payload", ())) != 1:
        _malformed("the form has no field payload")
    return fields["payload"][0].encode()


def _parsed(text: bytes) -> Mapping[str, Any]:
    try:
        document: object = json.loads(text.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        _malformed("the body is no JSON")
    if not isinstance(document, dict):
        _malformed("the body is no JSON object")
    payload = cast("dict[str, Any]", document)
    if _is_deep(payload):
        _malformed(f"the body is nested more than {MAX_DEPTH} deep")
    return payload


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _is_deep(document: object) -> bool:
    level = [document]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += cast("dict[str, object]", value).values()
            elif isinstance(value, list):
                below += cast("list[object]", value)
        if not below:
            return False
        level = below
    return True


def _malformed(sentence: str) -> NoReturn:
    raise Refused(400, "malformed", sentence)
