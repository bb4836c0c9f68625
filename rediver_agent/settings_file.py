"""Reads `agent.yaml` and the environment into `Settings`, or says in one sentence what is wrong."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from rediver_agent.errors import ConfigurationError
from rediver_agent.settings import Settings

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a file (none: the defaults), the environment and flags, validated whole.

    Raises `ConfigurationError` with one sentence for an unreadable file, an unknown key (naming
    the nearest known one), a value of the wrong kind or settings that contradict each other.
    """
    document: dict[str, Any] = _expanded(_read(path)) if path else {}

    class FromHere(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env files: they surprise
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - api_key_file instead
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, document)

    try:
        return FromHere(**(flags or {}))
    except ValidationError as error:
        raise ConfigurationError(_explained(error, path)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; name the file with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where} is not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} must hold sections such as `agent:` and `server:`")
    return {str(key): value for key, value in cast("dict[object, Any]", document).items()}


def _expanded(value: Any) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(_variable, value)
    if isinstance(value, list):
        return [_expanded(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _expanded(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value


def _variable(match: re.Match[str]) -> str:
    try:
        return os.environ[match[1]]
    except KeyError:
        raise ConfigurationError(
            f"the configuration uses ${{{match[1]}}}, which is not set in the environment"
        ) from None


def _explained(error: ValidationError, path: Path | None) -> str:
    problems = "; ".join(_problem(fault) for fault in error.errors(include_url=False))
    return f"{path}: {problems}" if path else f"the configuration is wrong: {problems}"


def _problem(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(str(fault["loc"][-1]), _known_keys(fault["loc"][:-1]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{place} is not a setting{hint}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _known_keys(place: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in place:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_of(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := _model_of(inner)) is not None:
            return found
    return None
