"""What `rediver-agent doctor` says: lines that are ok, or say what to do. They are gathered side by
side and told in their order; whatever a look itself falls over is a line too.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import anyio

from rediver_agent.errors import RediverError
from rediver_agent.executor import described


class Check(NamedTuple):
    """One line. One that is not ok says what to do."""

    ok: bool
    what: str
    to_do: str = ""


def ok(what: str) -> Check:
    """Nothing is to be done about it."""
    return Check(True, what)


def not_ok(what: str, to_do: str) -> Check:
    """Somebody has to do something about it."""
    return Check(False, what, to_do)


Look = Callable[[], Awaitable[Sequence[Check]]]


@dataclass(slots=True)
class Examination:
    """Looks under way. `busy` names those that are not done."""

    looks: Sequence[tuple[str, Look]]
    busy: list[str] = field(default_factory=list[str])

    async def tell(self, hear: Callable[[Check], None]) -> None:
        """Have every line heard, in the order of the looks, each as soon as it is known."""
        self.busy = [name for name, _ in self.looks]
        found: dict[int, Sequence[Check]] = {}
        done = [anyio.Event() for _ in self.looks]

        async def do(number: int, name: str, look: Look) -> None:
            found[number] = await _safely(name, look)
            self.busy.remove(name)
            done[number].set()

        async with anyio.create_task_group() as tasks:
            for number, (name, look) in enumerate(self.looks):
                tasks.start_soon(partial(do, number, name, look))
            for number, event in enumerate(done):
                await event.wait()
                for line in found[number]:
                    hear(line)


async def _safely(name: str, look: Look) -> Sequence[Check]:
    try:
        return await look()
    except RediverError as fault:
        return [not_ok(name, str(fault))]
    except Exception as fault:  # noqa: BLE001 - plugins run here, and one fault hides no other line
        return [not_ok(name, f"this could not be looked at: {described(fault)}; please report it")]
