"""Every error that Rediver raises on purpose: a sentence that names the thing and the next step.

RediverError
├── ConfigurationError      what the operator wrote cannot be used        exit 2
├── SpoolError              the state directory cannot be used            exit 2
│   └── SpoolDamaged        the spool's file is broken, or is not one
├── ServerError             a call to the server came to nothing
│   ├── ServerUnavailable   it may fare better later
│   └── ServerRefused       it was understood and refused
└── CommandError            one command cannot go on; `reason` travels in its result
    ├── TypeNotAllowed · TargetNotAllowed · CommandExpired · InvalidPayload
    ├── UnknownScanner · UnknownCollector
    ├── ToolMissing · ToolError · ToolTimeout
    ├── ReportUnreadable · SuppressionsUnreadable
    └── PluginError · DiskFull · NotKept
"""

from typing import ClassVar

from rediver_agent.contract.results import Reason


class RediverError(Exception):
    """The root. Its text is shown to people as it stands."""


class ConfigurationError(RediverError):
    """What the operator wrote cannot be used."""


class SpoolError(RediverError):
    """The state directory cannot be used."""


class SpoolDamaged(SpoolError):
    """The spool's file is broken, or is not one. A starting agent sets it aside."""


class ServerError(RediverError):
    """A call to the server came to nothing. `status` is HTTP's, if there was an answer."""

    status: int | None = None


class ServerUnavailable(ServerError):
    """Network, overload, or an answer that is not the server's: may fare better later.

    `retry_after` is what the server asked for, in seconds; `status` is HTTP's, if there was one.
    """

    def __init__(
        self, message: str, *, retry_after: float = 0.0, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class ServerRefused(ServerError):
    """The server understood the call and refused it: `status` of HTTP, `code` of the contract."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CommandError(RediverError):
    """A command cannot go on. `reason` is from the contract's fixed list.

    `retryable` is whether another attempt, perhaps elsewhere, may fare better.
    """

    reason: ClassVar[Reason] = Reason.PLUGIN_ERROR
    retryable: ClassVar[bool] = False


class TypeNotAllowed(CommandError):
    reason = Reason.TYPE_NOT_ALLOWED


class TargetNotAllowed(CommandError):
    reason = Reason.TARGET_NOT_ALLOWED


class CommandExpired(CommandError):
    reason = Reason.EXPIRED


class InvalidPayload(CommandError):
    reason = Reason.INVALID_PAYLOAD


class UnknownScanner(CommandError):
    reason = Reason.UNKNOWN_SCANNER


class UnknownCollector(CommandError):
    reason = Reason.UNKNOWN_COLLECTOR


class ToolMissing(CommandError):
    reason = Reason.TOOL_MISSING


class ToolError(CommandError):
    """The tool ended as it should not have. Carries what it said last."""

    reason = Reason.TOOL_ERROR

    def __init__(
        self, message: str, *, exit_code: int | None = None, stderr_tail: str = ""
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail


class ToolTimeout(CommandError):
    reason = Reason.TIMEOUT


class ReportUnreadable(CommandError):
    """A report is missing, empty, cut off or not of its format."""

    reason = Reason.REPORT_UNREADABLE


class SuppressionsUnreadable(CommandError):
    """The scanned directory's own file says something that is not understood."""

    reason = Reason.INVALID_PAYLOAD


class PluginError(CommandError):
    """A plugin did what its interface forbids."""

    reason = Reason.PLUGIN_ERROR


class DiskFull(CommandError):
    reason = Reason.DISK_FULL
    retryable = True


class NotKept(CommandError):
    """What was pushed is not on the disk: whoever pushed it must try again."""

    reason = Reason.AGENT_ERROR
    retryable = True
