"""What a transaction writes of commands: one conditional UPDATE and some events for each.

It goes to the database in bulk, before anything else is asked there and before the commit. An
UPDATE holds only if nobody wrote the command since it was read; else nothing of it all does.
"""

from collections import defaultdict
from typing import Any, Final, cast

from sqlalchemy import Table, bindparam, event, insert, update
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import StaleDataError

from rediver_server.db import Transaction
from rediver_server.models import Command, CommandEvent

_UPDATE: Final = update(cast("Table", Command.__table__)).where(
    Command.id == bindparam("_id"), Command.revision == bindparam("_revision")
)
_INSERT: Final = insert(cast("Table", CommandEvent.__table__))


class Ledger:
    """Of one transaction, since it last wrote to the database."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._changes: dict[str, dict[str, Any]] = {}

    def change(self, command: Command, changes: dict[str, Any]) -> None:
        """Change columns of a command, in memory at once."""
        as_read = {"_id": command.id, "_revision": command.revision}
        changes["revision"] = command.revision + 1
        self._changes.setdefault(command.id, as_read).update(changes)
        for name, value in changes.items():
            set_committed_value(command, name, value)

    def write(self, tx: Transaction) -> None:
        """Raises StaleDataError if somebody has written one of the commands since it was read.

        It is no ApiError: the whole transaction ends with it, not one item of a batch.
        """
        tx.flush()  # new commands, before what happened to them
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for changes in self._changes.values():
            alike[tuple(sorted(changes))].append(changes)
        for rows in alike.values():
            if tx.connection().execute(_UPDATE, rows).rowcount != len(rows):
                raise StaleDataError("a command was written since it was read")
        if self.events:
            tx.connection().execute(_INSERT, self.events)


def ledger(tx: Transaction) -> Ledger:
    """The ledger of a transaction, to be written when it is time."""
    return tx.info.setdefault(Ledger, Ledger())


@event.listens_for(Transaction, "do_orm_execute")
def _before_asking(state: ORMExecuteState) -> None:
    _write(cast("Transaction", state.session))


@event.listens_for(Transaction, "before_commit")
def _write(tx: Transaction) -> None:
    if (open_ledger := tx.info.pop(Ledger, None)) is not None:
        open_ledger.write(tx)
