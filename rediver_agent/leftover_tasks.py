"""Ends the tasks that a plugin has begun beside its work and left behind.

Whatever is begun in a command's context is remembered with it. What is still running when the work
is over belongs to nobody: it is ended before the outcome is written.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet

SECONDS: Final = 5.0  # for them to end

Tasks = WeakSet[asyncio.Task[Any]]
_begun_here: ContextVar[Tasks | None] = ContextVar("tasks_of_a_command", default=None)


def remember_tasks() -> Tasks:
    """From now on, every task that is begun from here, and from those, is among these."""
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(_begin)  # pyright: ignore[reportArgumentType] - the stub still allows generators as coroutines
    tasks = Tasks()
    _begun_here.set(tasks)
    return tasks


async def end_tasks(tasks: Tasks) -> list[str]:
    """Cancel what is left of them, and wait a moment. Returns what each was doing."""
    _begun_here.set(None)
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=SECONDS)
    for task in left:
        if task.done() and not task.cancelled():
            task.exception()  # else asyncio says that nobody has asked for it
    return sorted(getattr(task.get_coro(), "__qualname__", task.get_name()) for task in left)


def _begin(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **how: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **how)
    tasks = _begun_here.get()
    if tasks is not None:
        tasks.add(task)
    return task
