"""The states of a command and the moves between them: data, for the server and for tests.

The first terminal state wins and never changes.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class CommandStatus(StrEnum):
    """Where a command is in its life."""

    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_S = CommandStatus

TERMINAL: Final = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.EXPIRED})

HELD: Final = frozenset({_S.ACKNOWLEDGED, _S.RUNNING})

# A pending command moves to running or to an outcome only by the word of its last holder, whose
# lease lapsed and whom nobody has replaced (CONTRACT section 2, "Lease").
MOVES: Final[Mapping[CommandStatus, frozenset[CommandStatus]]] = {
    _S.PENDING: frozenset(
        {_S.ACKNOWLEDGED, _S.CANCELLED, _S.EXPIRED, _S.RUNNING, _S.COMPLETED, _S.FAILED}
    ),
    _S.ACKNOWLEDGED: frozenset(
        {_S.RUNNING, _S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.PENDING, _S.EXPIRED}
    ),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED, _S.PENDING, _S.EXPIRED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}


def may_move(now: CommandStatus, then: CommandStatus) -> bool:
    """Whether a command in state `now` may go to state `then`."""
    return then in MOVES[now]
