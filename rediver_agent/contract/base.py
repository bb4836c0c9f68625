"""The base of every wire model, and the kinds of value that the contract fixes.

Times are aware, in UTC, RFC 3339 text on the wire. Ids are `<kind>_` and letters, digits, `_`, `-`.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
)

CONTRACT_VERSION: Final = "1"

Model = TypeVar("Model", bound=BaseModel)


class WireModel(BaseModel):
    """Immutable, and lenient about unknown fields unless it is read by `parse_strict`."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def _text_or_datetime(value: object) -> object:
    """Refuse numbers: pydantic would take them for seconds since 1970."""
    if isinstance(value, str) and value[:4].isdigit() and not value.isdigit():
        return value
    if isinstance(value, datetime):
        return value
    raise ValueError("a time is RFC 3339 text with a zone, like 2024-01-16T10:00:00Z")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as fault:  # the year 1 or 9999, with an offset that leaves it
        raise ValueError("a time must be one that UTC has too") from fault


def _number(value: object) -> object:
    """Refuse text that looks like a number, as the published schema does."""
    if isinstance(value, str | bool):
        raise ValueError("a number is written without quotes")  # noqa: TRY004 - pydantic takes no other
    return value


def _flag(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("it is true or false")  # noqa: TRY004 - the same
    return value


UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_text_or_datetime), AfterValidator(_in_utc)]
Id = Annotated[str, Field(pattern=r"^[a-z]+_[A-Za-z0-9_-]+$", max_length=36)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
NUMBER: Final = BeforeValidator(_number)  # comes last, or the schema would not show the limits
Flag = Annotated[bool, BeforeValidator(_flag)]
Count = Annotated[int, Field(ge=0), NUMBER]
Attempt = Annotated[int, Field(ge=0, le=2**31 - 1), NUMBER]  # as databases keep it
JsonObject = dict[str, JsonValue]


def parse(model: type[Model], data: object) -> Model:
    """Read a value that the other side wrote. Unknown fields are ignored, at every depth.

    Raises `pydantic.ValidationError` when it is not of the model's shape.
    """
    return model.model_validate(data, extra="ignore")


def parse_strict(model: type[Model], data: object) -> Model:
    """Read a request. Unknown fields are an error that names them, at every depth.

    Inside free-form objects (`metadata`, `properties`, `config`) anything goes.
    Raises `pydantic.ValidationError`.
    """
    return model.model_validate(data, extra="forbid")


def dump(model: BaseModel) -> dict[str, Any]:
    """The model as JSON-ready values: fields never set and fields that are None are left out."""
    return model.model_dump(mode="json", exclude_none=True)
