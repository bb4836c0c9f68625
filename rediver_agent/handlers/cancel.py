"""`cancel` as a command: for servers that hand it out. Ours settles it itself."""

from collections.abc import Callable
from dataclasses import dataclass

from rediver_agent.contract.commands import CancelCommand, Cancelling
from rediver_agent.errors import InvalidPayload
from rediver_agent.executor import Cause, Job, Outcome


@dataclass(frozen=True, slots=True)
class CancelHandler:
    """Ends another command of this agent. One that is not in hand is no error."""

    cancel: Callable[[str, Cause], bool]

    async def handle(self, job: Job) -> Outcome:
        """The outcome says whether there was anything to cancel."""
        if not isinstance(job.command, CancelCommand):
            raise InvalidPayload("a cancel command names the command to cancel in command_id")
        known = self.cancel(job.command.payload.command_id, Cause.CANCELLED)
        return Outcome(
            metadata={"outcome": Cancelling.REQUESTED if known else Cancelling.NOT_FOUND}
        )
