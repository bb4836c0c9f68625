"""Reads `agent.yaml` and the environment into `Settings`, or says in one sentence what is wrong.

Default < enrolled < file < overlay < environment < flag. Each source is read once; a `Sources` can
be put together anew under another overlay. Whatever is a secret can stand in a file instead.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)
from typing_extensions import override

from rediver_agent.credentials import FILE_NAME, enrolled
from rediver_agent.errors import ConfigurationError
from rediver_agent.settings import Settings

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WITH_SECRETS: Final = ("scanners", "collectors")  # lists: in the environment they are one variable
_KEY_NAMES: Final = ("api_key", "api_key_file")


def load(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a file (none: the defaults), the environment and flags, validated whole.

    Raises `ConfigurationError` with one sentence for an unreadable file, an unknown key (naming
    the nearest known one), a value of the wrong kind or settings that contradict each other.
    """
    return read(path, flags).settings()


def read(path: Path | None = None, flags: Mapping[str, Any] | None = None) -> "Sources":
    """What the file, the environment and the flags say, not yet put together.

    Raises `ConfigurationError` for what cannot be read.
    """
    try:
        document: dict[str, Any] = _beside(path, _expanded(_read(path))) if path else {}
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply, or holds itself") from error
    return Sources(path, document, _environment(), flags or {})


@dataclass(frozen=True, slots=True, repr=False)  # there are secrets in it
class Sources:
    """What each source says. `settings` puts them together."""

    path: Path | None
    file: Mapping[str, Any]
    environment: Mapping[str, Any]
    flags: Mapping[str, Any]
    known_key: str | None = None
    """What `server.api_key_file` held when it was read: a pipe says it once."""

    def settings(self, overlay: Mapping[str, Any] | None = None) -> Settings:
        """Everything together, validated whole. `ConfigurationError` names what is wrong."""
        together = self._together(overlay or {})
        server = _section(together, "server") or {}
        if self.known_key and server.get("api_key_file") and not server.get("api_key"):
            together["server"] = {**server, "api_key": self.known_key}
        try:
            return _Together(**_over(self._enrolled(together), together))
        except ValidationError as error:
            where = "the settings of the server" if overlay else self.path
            raise ConfigurationError(explained(error, where)) from error

    def overrules(self, name: str) -> bool:
        """Whether the environment or a flag says this setting, so that no overlay changes it."""
        return any(_says(source, name.split(".")) for source in (self.environment, self.flags))

    def _together(self, overlay: Mapping[str, Any]) -> dict[str, Any]:
        named = (
            (self.file, "the file"),
            (overlay, "the settings of the server"),
            (self.environment, "the environment"),
            (self.flags, "the flags"),
        )
        together: dict[str, Any] = {}
        for source, name in named:
            _refuse_two_keys(source, name)
            together = _over(together, source)
        return together

    def _enrolled(self, together: Mapping[str, Any]) -> dict[str, Any]:
        """The server that this agent was enrolled with, unless the configuration names its own.

        A key is never sent to another server than the one that gave it.
        """
        own = _section(together, "server")
        if own is None or any(name in own for name in _KEY_NAMES):
            return {}
        directory = _state_dir(together)
        known = enrolled(directory) if directory else None
        if known is None:
            return {}
        if str(own.get("base_url") or known.base_url).rstrip("/") != known.base_url:
            return {}
        if (own.get("source_id") or known.source_id) != known.source_id:
            return {}
        return {
            "server": {
                "base_url": known.base_url,
                "source_id": known.source_id,
                "api_key": known.api_key.get_secret_value(),
                "api_key_file": cast("Path", directory) / FILE_NAME,
            }
        }


class _Together(Settings):
    """Settings of what is handed in: the sources have been put together already."""

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _state_dir(together: Mapping[str, Any]) -> Path | None:
    """Where the state will be; None if what was written is no directory, which is told later."""
    name = together.get("state_dir")
    if name is None:
        return cast(
            "Path", Settings.model_fields["state_dir"].get_default(call_default_factory=True)
        )
    try:
        return Path(name).expanduser() if name and isinstance(name, str | Path) else None
    except RuntimeError:  # of a user that is not there
        return None


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; `upper` wins. A key, or the file of one, replaces both."""
    result = dict(lower)
    if any(upper.get(name) for name in _KEY_NAMES):
        result = {name: value for name, value in lower.items() if name not in _KEY_NAMES}
    for name, value in upper.items():
        below = result.get(name)
        both = isinstance(value, dict) and isinstance(below, dict)
        result[name] = (
            _over(cast("dict[str, Any]", below), cast("dict[str, Any]", value)) if both else value
        )
    return result


def _section(source: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A section, empty if it is not there; None if what was written is none."""
    section: object = source.get(name) or {}
    return cast("dict[str, Any]", section) if isinstance(section, dict) else None


def _refuse_two_keys(source: Mapping[str, Any], where: str) -> None:
    server = _section(source, "server") or {}
    if all(server.get(name) for name in _KEY_NAMES):
        raise ConfigurationError(
            f"{where} sets server.api_key and server.api_key_file; keep one of them"
        )


def _says(source: Mapping[str, Any], parts: list[str]) -> bool:
    inner: Any = source
    for part in parts:
        if not isinstance(inner, dict) or part not in inner:
            return False
        inner = cast("dict[str, Any]", inner)[part]
    return True


def _environment() -> dict[str, Any]:
    try:
        said: dict[str, Any] = EnvSettingsSource(Settings)()
        for name in _WITH_SECRETS:
            variable = f"REDIVER_{name.upper()}"
            if text := of_file(variable):
                said[name] = json.loads(text)
    except (SettingsError, ValueError) as error:
        raise ConfigurationError(
            "a list or a section in the environment is written as JSON, such as "
            f"REDIVER_TARGETS='[\"/srv/code\"]': {error}"
        ) from error
    return said


def of_file(variable: str) -> str | None:
    """The content of the file that `<variable>_FILE` names. None if it is not set.

    Raises `ConfigurationError` if the file cannot be read, or the variable is set itself.
    """
    name = os.environ.get(f"{variable}_FILE")
    if not name:
        return None
    if os.environ.get(variable):
        raise ConfigurationError(f"{variable} and {variable}_FILE are both set; keep one of them")
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{variable}_FILE {name} cannot be read: {error}") from error


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


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


# A date stays the text that it is in JSON: whoever wants one reads it.
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def read_yaml(path: Path, option: str) -> Any:
    """What a file that `option` names holds. Raises `ConfigurationError` for what is no YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{path} does not exist; name the file with {option}") from None
    except (OSError, ValueError) as error:  # of no UTF-8, or of a name with NUL in it
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where} is not good YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # the latter: a date that no calendar has
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply") from error


def _read(path: Path) -> dict[str, Any]:
    document = read_yaml(path, "--config")
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} must hold sections such as `agent:` and `server:`")
    # A section of which everything is commented out is null: its defaults hold.
    sections = cast("dict[object, Any]", document).items()
    return {str(key): value for key, value in sections if value is not None}


def _beside(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The document, with the files that `parsers` name seen from where it stands."""
    parsers = document.get("parsers")
    for section in cast("list[Any]", parsers) if isinstance(parsers, list) else ():
        if isinstance(section, dict) and isinstance(section.get("mapping"), str):  # pyright: ignore[reportUnknownMemberType] - YAML may hold anything
            section["mapping"] = path.parent / cast("str", section["mapping"])
    return document


def _expanded(value: Any) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(_variable, value)
    if isinstance(value, list):
        return [_expanded(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _expanded(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value


def _variable(match: re.Match[str]) -> str:
    name = match[1]
    if (text := of_file(name)) is not None:
        return text
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(
            f"the configuration uses ${{{name}}}, which is not set in the environment, and nor "
            f"is {name}_FILE"
        ) from None


def explained(error: ValidationError, where: object, model: type[BaseModel] = Settings) -> str:
    """What is wrong with what was written for a model, each with the nearest that would be right.

    Never with what was written: there may be secrets in it.
    """
    faults = error.errors(include_url=False, include_input=False)
    problems = "; ".join(_problem(fault, model) for fault in faults)
    return f"{where}: {problems}" if where else f"the configuration is wrong: {problems}"


def _problem(fault: Any, model: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _known_keys(model, fault["loc"][:-1])
        near = get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{place} is not a setting{hint}"
    if fault["type"] == "model_type":
        return f"{place} must be a section; write its settings below it"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _known_keys(model: type[BaseModel], place: tuple[str | int, ...]) -> list[str]:
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
