"""The key that opens the server: where it is kept, which one is good now, and what is masked.

`enroll` keeps what the server gave it in `state_dir/credentials.json`. A key of a file (that one,
or `server.api_key_file`) is read anew for each request, so that it can be rotated under a running
agent; while the file holds no key of this agent's, the last good one stays. Every key that was ever
used stays masked.
"""

import logging
import os
import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer

from rediver_agent.errors import ConfigurationError
from rediver_agent.settings import ServerSection
from rediver_agent.state_dir import private_directory, replace_file

log = logging.getLogger(__name__)

FILE_NAME: Final = "credentials.json"
_MOST_BYTES: Final = 4096  # a key has 50, credentials 250; whatever is larger is neither


class Secrets:
    """Every secret that this process has known. Ask for them each time that a text is masked."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = tuple(known)

    def __call__(self) -> tuple[str, ...]:
        """All of them, from any thread."""
        return self._known

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these too, from now on."""
        self._known = tuple(dict.fromkeys((*self._known, *secrets)))


class Credentials(BaseModel):
    """What a server gave this agent when it was enrolled."""

    model_config = ConfigDict(frozen=True)

    base_url: str
    source_id: str
    api_key: SecretStr
    name: str
    enrolled_at: datetime

    @field_serializer("api_key", when_used="json")
    def _in_full(self, key: SecretStr) -> str:
        return key.get_secret_value()


def enrolled(state_dir: Path) -> Credentials | None:
    """What `enroll` has kept there. None if it has not been run, or another user's agent has it.

    Raises `ConfigurationError` for a file that `enroll` has not written.
    """
    path = state_dir / FILE_NAME
    try:
        return Credentials.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as fault:  # pydantic's errors are ValueErrors, and show the key
        raise ConfigurationError(
            f"{path} is not as `rediver-agent enroll` writes it; enroll again with --force"
        ) from (fault if isinstance(fault, OSError) else None)


def keep(state_dir: Path, credentials: Credentials) -> Path:
    """Write them for the next start. Returns the file's path; `SpoolError` if it cannot be."""
    path = private_directory(state_dir) / FILE_NAME
    replace_file(path, credentials.model_dump_json(indent=2) + "\n")
    return path


class ApiKey:
    """The key of each request: the configured one, or what its file holds by then."""

    def __init__(self, server: ServerSection, secrets: Secrets | None = None) -> None:
        self._server = server
        self._key = server.api_key.get_secret_value() if server.api_key else ""
        self._secrets = secrets or Secrets()
        self._secrets.learn([self._key])
        self._problem = ""

    def current(self) -> str:
        """The key to use now. Reads its file if it has one, so it may block."""
        file = self._server.api_key_file
        if file is None:
            return self._key
        try:
            key = self._read(file)
        except (OSError, ValueError) as fault:
            why = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
            if why != self._problem:  # said once, not with each request
                log.error("%s: %s; the last good key is used on", file, why)
            self._problem = why
            return self._key
        if key != self._key:
            self._secrets.learn([key])
            log.info("%s: there is a new key, and it is used from now on", file)
        self._key, self._problem = key, ""
        return key

    def _read(self, file: Path) -> str:
        """Raises `OSError`, or `ValueError` with a sentence that holds nothing of the file's."""
        # Not waiting: a pipe that was read at the start has nothing more to say.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return self._key
            content = stream.read(_MOST_BYTES)
        try:
            text = content.decode().strip() if len(content) < _MOST_BYTES else "more than a key"
        except UnicodeDecodeError:
            raise ValueError("there is no key in it") from None
        return self._of_this_agent(text) if text.startswith("{") else _checked(text)

    def _of_this_agent(self, text: str) -> str:
        """The key in what `enroll` wrote, if it is of the same source and server."""
        try:
            found = Credentials.model_validate_json(text)
        except ValidationError:
            raise ValueError("it is not as `rediver-agent enroll` writes it") from None
        if (found.base_url, found.source_id) != (self._server.base_url, self._server.source_id):
            raise ValueError(
                f"it is now of {found.source_id} at {found.base_url}, for which the agent has to "
                "be restarted"
            )
        return _checked(found.api_key.get_secret_value())


def _checked(key: str) -> str:
    if not key:
        raise ValueError("it is empty")
    try:
        ServerSection.model_validate({"api_key": key})
    except ValidationError:
        raise ValueError("there is no key in it") from None
    return key
