"""Where a mapping takes a value from: a path, a constant, or the first of several that is there."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator, PlainValidator

from rediver_json._path import Path, path_of

Scalar = str | int | float | bool
_SCALARS: Final = (str, int, float, bool)


@dataclass(frozen=True, slots=True)
class Source:
    """One place that a value may come from: a path, or else a constant."""

    path: Path | None = None
    constant: Scalar | None = None
    is_score: bool = False
    """Whether it is a CVSS score. For severities."""


@dataclass(frozen=True, slots=True)
class Value:
    """The places that a value may come from, the first of them first."""

    sources: tuple[Source, ...]

    @property
    def paths(self) -> list[Path]:
        return [source.path for source in self.sources if source.path]

    @property
    def text(self) -> str:
        """How the mapping wrote its paths."""
        return " or ".join(repr(path.text) for path in self.paths)


def _value(given: object, *, scores: bool = False) -> Value:
    if isinstance(given, list):
        if not given:
            raise ValueError("an empty list names nothing: write a path")
        return Value(tuple(_source(each, scores) for each in cast("list[object]", given)))
    return Value((_source(given, scores),))


def _source(given: object, scores: bool) -> Source:
    if not isinstance(given, dict):
        return Source(path_of(given))
    said = cast("dict[object, object]", given)
    kinds = "{constant: …}" + (" or {cvss: <path>}" if scores else "")
    if len(said) != 1 or not said.keys() <= {"constant", "cvss"} or ("cvss" in said and not scores):
        raise ValueError(f"write a path, {kinds} or a list of them")
    if "cvss" in said:
        return Source(path_of(said["cvss"]), is_score=True)
    constant = said["constant"]
    if not isinstance(constant, _SCALARS) or constant == "":
        raise ValueError("a constant is a text, a number, true or false")
    return Source(constant=constant)


def _severity_value(given: object) -> Value:
    return _value(given, scores=True)


def word_of(value: object) -> str:
    """A value as it is compared with words that a mapping names."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).casefold()


def _words(given: object) -> frozenset[str]:
    several = cast("list[object]", given) if isinstance(given, list) else [given]
    if not several or not all(isinstance(each, _SCALARS) for each in several):
        raise ValueError("write the value that an entry must have there, or a list of them")
    return frozenset(map(word_of, several))


def _keyed_by_word(given: object) -> object:
    if not isinstance(given, dict):
        return given
    return {word_of(word): severity for word, severity in cast("dict[Any, Any]", given).items()}


Mapped = Annotated[Value, PlainValidator(_value)]
MappedSeverity = Annotated[Value, PlainValidator(_severity_value)]
Words = Annotated[frozenset[str], PlainValidator(_words)]
KeyedByWord = BeforeValidator(_keyed_by_word)
