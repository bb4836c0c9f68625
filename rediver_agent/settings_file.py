"""Reads `agent.yaml` and the environment into `Settings`, or says in one sentence what is wrong."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)
from typing_extensions import override

from rediver_agent.errors import ConfigurationError
from rediver_agent.settings import Settings

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def load(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a file (none: the defaults), the environment and flags, validated whole.

    Raises `ConfigurationError` with one sentence for an unreadable file, an unknown key (naming
    the nearest known one), a value of the wrong kind or settings that contradict each other.
    """
    try:
        document: dict[str, Any] = _expanded(_read(path)) if path else {}
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply, or holds itself") from error

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
    except SettingsError as error:
        raise ConfigurationError(
            "a list or a section in the environment is written as JSON, such as "
            f"REDIVER_TARGETS='[\"/srv/code\"]': {error}"
        ) from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice: of two `security` sections only the last would count."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"{key.value} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; name the file with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where} is not good YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} must hold sections such as `agent:` and `server:`")
    # A section of which everything is commented out is null: its defaults hold.
    sections = cast("dict[object, Any]", document).items()
    return {str(key): value for key, value in sections if value is not None}


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
    if fault["type"] == "model_type":
        return f"{place} must be a section; write its settings below it"
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
