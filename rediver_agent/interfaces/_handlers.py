"""What a handler of a command type of its own is handed, and what every handler is."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol

from pydantic import BaseModel, JsonValue
from typing_extensions import TypeVar

from rediver_agent.interfaces._options import Log, NoOptions, Options
from rediver_agent.interfaces._scanners import Completed

Payload = TypeVar("Payload", bound=BaseModel)


class HandlerContext(Protocol):
    """All that a handler gets."""

    @property
    def target(self) -> str | None:
        """The directory that the command is about, for messages; None if it is about none."""
        ...

    @property
    def work_dir(self) -> Path:
        """An empty directory of this command, removed after it."""
        ...

    @property
    def cache_dir(self) -> Path:
        """A directory of this command type, kept between commands."""
        ...

    @property
    def log(self) -> Log:
        """The agent's log, with the command's id."""
        ...

    async def run(
        self,
        program: str,
        /,
        *arguments: str,
        ok: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program in the target, or in `work_dir` where there is none, and wait for the end
        of its whole process tree.

        The child's environment is built up from nothing: PATH, HOME and TMPDIR in the work
        directory, LANG, and `environment`. Raises `ToolMissing`, and `ToolError` for an exit code
        that is not in `ok`.
        """
        ...

    def file_in_target(self, path: str, /) -> str:
        """A file of the target, as a program is to be told: `./images/a.tar`.

        Raises `CommandError` where there is no such file, or a link is on the way to it.
        """
        ...

    def progress(self, percent: float | None, message: str) -> None:
        """Say how far the work is: 0 to 100, or None for a phase without a number."""
        ...


class CommandHandler(ABC, Generic[Payload, Options]):
    """Does the work of a command type of its own. Registered by `rediver_handlers`.

    An agent takes such commands only where its operator lists the type in
    `security.allowed_command_types`. `payload` and `options` are pydantic models with
    `extra="forbid"`: what a command says is validated by the first, the operator's
    `handlers[].config` by the second. An address or a secret belongs into the options.
    """

    command_type: ClassVar[str]
    """What a command's `type` says: small letters, digits and `_`; none of the agent's own."""
    payload: type[Payload]
    options: type[Options] = NoOptions  # pyright: ignore[reportAssignmentType] - the default of the type variable
    timeout_seconds: ClassVar[int] = 1800
    """How long one command may take, unless its payload has a `timeout_seconds` of its own."""

    def target(self, payload: Payload) -> str | None:
        """The directory of the host that a command is about; None if it is about none.

        It must be below a root that the operator allows. Programs are run in it.
        """
        del payload
        return None

    @abstractmethod
    async def handle(
        self, ctx: HandlerContext, payload: Payload, options: Options
    ) -> Mapping[str, JsonValue]:
        """Do it, and return what the result's `metadata` shall say.

        What cannot be done is an error raised: `ToolError` with a sentence that says what to do.
        It shares the agent's event loop: what blocks belongs into `anyio.to_thread`. No secret may
        be in what it returns.
        """


AnyHandler = CommandHandler[Any, Any]
