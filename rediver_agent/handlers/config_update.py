"""`config_update`: change the settings that the operator lets a server change, and prove them.

An update is in force at once. It stays if a heartbeat is accepted under it; else, and if the
command is cancelled or the agent stops meanwhile, what was before is in force again.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread

from rediver_agent.configuration import Configuration
from rediver_agent.contract.commands import ConfigUpdateCommand
from rediver_agent.contract.results import Reason, ResultStatus
from rediver_agent.errors import InvalidPayload
from rediver_agent.executor import Job, Outcome
from rediver_agent.overlay import Overlay, Update

log = logging.getLogger(__name__)

PROVE_SECONDS: Final = 60.0  # DESIGN section 3
_PAUSE_SECONDS: Final = 2.0  # between two tries


@dataclass(slots=True)
class ConfigUpdateHandler:
    """Updates, one at a time. `prove` sends one heartbeat and says whether it was accepted."""

    overlay: Overlay
    configuration: Configuration
    prove: Callable[[], Awaitable[bool]]
    prove_seconds: float = PROVE_SECONDS
    _one_at_a_time: anyio.Lock = field(default_factory=anyio.Lock)

    async def handle(self, job: Job) -> Outcome:
        """Completed when it is proved. Raises `InvalidPayload` for what may not be, or cannot."""
        if not isinstance(job.command, ConfigUpdateCommand):
            raise InvalidPayload("a config_update command has an object config_data")
        data = job.command.payload.config_data
        async with self._one_at_a_time:
            try:
                update = await anyio.to_thread.run_sync(self.overlay.begin, job.id, data)
                if update.on_trial and not await self._proved(update):
                    return self._rejected(update)
                await anyio.to_thread.run_sync(self.overlay.keep)
            finally:
                if self.overlay.on_trial:
                    with anyio.CancelScope(shield=True):
                        await self._put_back()
        return Outcome(metadata=update.metadata())

    async def _proved(self, update: Update) -> bool:
        log.info("version %d of the server's settings is on trial", update.version)
        self.configuration.replace(self.overlay.settings)
        with anyio.move_on_after(self.prove_seconds):
            while not await self.prove():  # noqa: ASYNC110 - a call to the server, not an event
                await anyio.sleep(_PAUSE_SECONDS)
            return True
        return False

    async def _put_back(self) -> None:
        await anyio.to_thread.run_sync(self.overlay.put_back)
        log.warning("the settings of before are in force again")
        self.configuration.replace(self.overlay.settings)

    def _rejected(self, update: Update) -> Outcome:
        return Outcome(
            status=ResultStatus.FAILED,
            error=f"no heartbeat was accepted within {self.prove_seconds:g} s under these "
            "settings; those of before are in force again",
            metadata={"reason": Reason.CONFIG_REJECTED.value, **update.metadata()},
        )
