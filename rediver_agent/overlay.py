"""The settings that a server has changed: which it may change, what they are, what was before.

Kept in `state_dir/overlay.json`, and put between the file and the environment. An update is on
trial until it is kept. Whoever reads a trial that nobody has kept takes what was before it, so an
agent that dies in one comes back with settings that were proved. Methods that write block.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from rediver_agent.contract.base import JsonObject
from rediver_agent.errors import ConfigurationError, DiskFull, InvalidPayload, SpoolError
from rediver_agent.settings import REMOTE_SETTINGS, Settings
from rediver_agent.settings_file import Sources, read
from rediver_agent.settings_patch import differences, merged, named, only
from rediver_agent.state_dir import replace_file

log = logging.getLogger(__name__)

FILE_NAME: Final = "overlay.json"


class _Version(BaseModel):
    """One state of the server's settings, in the shape of the configuration file."""

    model_config = ConfigDict(frozen=True)

    version: int = 0
    data: JsonObject = {}


class _File(_Version):
    """What is on disk. `newest` counts updates that came to nothing too: no number comes twice."""

    state: Literal["trial", "good"] = "good"
    previous: _Version = _Version()
    newest: int = 0
    command_id: str | None = None

    def proved(self) -> _Version:
        """What was kept last."""
        if self.state == "trial":
            return self.previous
        return _Version(version=self.version, data=self.data)


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the file comes to, and what of it is not in force, in sentences."""

    settings: Settings
    proved: _Version
    newest: int
    sentences: tuple[str, ...] = ()
    unproved: _File | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What an update comes to. `changed` is for people: no secret is in it."""

    version: int
    changed: list[JsonValue] = field(default_factory=list[JsonValue])
    ignored_by_environment: list[JsonValue] = field(default_factory=list[JsonValue])
    on_trial: bool = True

    def metadata(self) -> dict[str, JsonValue]:
        """For the result of its command."""
        return {
            "version": self.version,
            "changed": self.changed,
            "ignored_by_environment": self.ignored_by_environment,
        }


class Overlay:
    """The settings of one agent: its operator's, and what a server has changed of them."""

    def __init__(self, sources: Sources) -> None:
        self._own = sources.settings()
        key = self._own.server.api_key
        self._sources = replace(sources, known_key=key.get_secret_value() if key else None)
        self._kept = self._stored()
        self._trial: tuple[_File, _Stored] | None = None

    @classmethod
    def open(cls, config_file: Path | None, flags: Mapping[str, Any] | None = None) -> "Overlay":
        """The settings of a file, the server, the environment and flags. Writes nothing.

        Raises `ConfigurationError` for what the operator wrote. What the server has set and cannot
        be used is left out, and said in `sentences`.
        """
        return cls(read(config_file, flags))

    @property
    def settings(self) -> Settings:
        """The settings in force, an update on trial included."""
        return self._now.settings

    @property
    def version(self) -> int:
        """Of the server's settings in force. 0 is none."""
        return self._now.proved.version

    @property
    def on_trial(self) -> bool:
        """Whether an update waits for its proof."""
        return self._trial is not None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the server has set that is not in force, and why."""
        return self._kept.sentences

    def differences(self) -> list[JsonValue]:
        """What the server has changed, beside what the operator's own configuration says."""
        return differences(self._own, self.settings)

    def check(self) -> Settings:
        """What an agent would start with now: `ConfigurationError` if its file has been broken."""
        return Overlay(read(self._sources.path, self._sources.flags)).settings

    def recover(self) -> None:
        """Say in the log what is not in force; an update that was never proved is forgotten.

        For an agent that starts, and holds the lock of its state directory.
        """
        for sentence in self.sentences:
            log.error("%s", sentence)
        if (unproved := self._kept.unproved) is not None:
            self._write_proved(unproved.previous, unproved.newest)

    def begin(self, command_id: str, patch: JsonObject) -> Update:
        """Put an update on trial, unless all of it is in force already.

        `patch` is merged into what the server has set before: null takes a setting back to the
        operator's. Raises `InvalidPayload` for what it may not name, or for settings that cannot
        be used; `SpoolError` or `DiskFull` if it cannot be written.
        """
        names = list(named(patch))
        self._refuse_forbidden(names)
        stored = self._stored()  # the operator may have reset it since
        data = self._without_programs(merged(stored.proved.data, patch))
        ignored: list[JsonValue] = [name for name in names if self._sources.overrules(name)]
        if data == stored.proved.data and stored.settings == self.settings:
            return Update(self.version, [], ignored, on_trial=False)
        try:
            settings = self._with(data)
        except ConfigurationError as fault:
            raise InvalidPayload(str(fault)) from fault
        newest = max(stored.newest, self._kept.newest) + 1
        trial = _File(
            version=newest,
            data=data,
            state="trial",
            previous=stored.proved,
            newest=newest,
            command_id=command_id,
        )
        self._write(trial)
        changed = differences(self.settings, settings)
        proved = _Version(version=trial.version, data=data)
        self._trial = trial, _Stored(settings, proved, trial.newest)
        return Update(trial.version, changed, ignored)

    def keep(self) -> None:
        """The update on trial is proved. `SpoolError` or `DiskFull` leaves it on trial."""
        if self._trial is not None:
            file, stored = self._trial
            self._write(file.model_copy(update={"state": "good"}))
            self._kept, self._trial = stored, None

    def put_back(self) -> None:
        """The settings of before are in force again. It cannot fail: on disk they are already."""
        if self._trial is not None:
            (file, _), self._trial = self._trial, None
            self._kept = replace(self._kept, newest=file.newest)
            self._write_proved(file.previous, file.newest)

    @property
    def _now(self) -> _Stored:
        return self._trial[1] if self._trial else self._kept

    @property
    def _path(self) -> Path:
        return self._own.state_dir / FILE_NAME

    def _write(self, file: _File) -> None:
        replace_file(self._path, file.model_dump_json(indent=2) + "\n")

    def _write_proved(self, proved: _Version, newest: int) -> None:
        try:
            self._write(_File(**proved.model_dump(), newest=newest))
        except (SpoolError, DiskFull) as fault:
            log.error("%s; what stands there of an update is not in force", fault)

    def _stored(self) -> _Stored:
        sentences: list[str] = []
        try:
            file = _File.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            file = _File()  # another user's state is none of ours
        except (OSError, ValueError):  # pydantic's errors are ValueErrors, and show its settings
            file = _File()
            sentences.append(f"{self._path} is broken: nothing that the server changed is in force")
        unproved = file if file.state == "trial" else None
        if unproved:
            sentences.append(
                f"the agent ended before version {file.version} of the server's settings was "
                f"proved: version {file.previous.version} is in force again"
            )
        settings, proved = self._own, _Version(version=file.proved().version)
        for name in sorted(named(file.proved().data)):
            try:
                self._refuse_forbidden([name])
                wider = merged(proved.data, only(file.proved().data, name))
                settings = self._with(wider)
            except (InvalidPayload, ConfigurationError) as fault:
                sentences.append(f"what the server set is not in force: {fault}")
            else:
                proved = proved.model_copy(update={"data": wider})
        return _Stored(settings, proved, file.newest, tuple(sentences), unproved)

    def _with(self, data: Mapping[str, JsonValue]) -> Settings:
        """The settings with these over the operator's, whose programs stay his."""
        if not data:
            return self._own
        if not isinstance(scanners := data.get("scanners"), list):
            return self._sources.settings(data)
        own = [
            {**entry, "binary": self._own.scanner(str(entry.get("name"))).binary}
            if isinstance(entry, dict)
            else entry
            for entry in scanners
        ]
        return self._sources.settings({**data, "scanners": own})

    def _without_programs(self, data: JsonObject) -> JsonObject:
        """A program is the operator's to name; one that he has named himself is left out."""
        if not isinstance(scanners := data.get("scanners"), list):
            return data
        return {**data, "scanners": [self._without_program(entry) for entry in scanners]}

    def _without_program(self, entry: JsonValue) -> JsonValue:
        if not isinstance(entry, dict):
            return entry
        name, binary = entry.get("name"), entry.get("binary")
        if binary is not None and binary != self._own.scanner(str(name)).binary:
            raise InvalidPayload(
                f"scanners: no server may name the program of {name!r}; its operator names it in "
                "scanners[].binary"
            )
        return {key: value for key, value in entry.items() if key != "binary"}

    def _refuse_forbidden(self, names: Iterable[str]) -> None:
        allowed = self._own.security.remote_config
        sections = {name.partition(".")[0] for name in allowed}
        for name in names:
            if name in allowed or name in sections:
                continue
            if name in REMOTE_SETTINGS:
                raise InvalidPayload(
                    f"this agent lets no server change {name}; its operator allows it by naming "
                    "it in security.remote_config"
                )
            near = get_close_matches(name, REMOTE_SETTINGS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InvalidPayload(
                f"no server may change {name}, whatever security.remote_config says{hint}"
            )


def reset(state_dir: Path) -> bool:
    """Forget what a server has changed, from the next start on. False if there is nothing.

    Raises `SpoolError` if the file cannot be removed.
    """
    path = state_dir / FILE_NAME
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as fault:
        raise SpoolError(f"{path} cannot be removed: {fault.strerror}") from fault
    return True
