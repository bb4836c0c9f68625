"""`restart`: end when what runs is done, or after the grace period, and start anew.

Its result is written by the agent that has started: `completed` is never said of a restart that did
not come to be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio.to_thread

from rediver_agent.contract.commands import RestartCommand
from rediver_agent.contract.results import CommandResult, Reason, ResultStatus
from rediver_agent.errors import InvalidPayload
from rediver_agent.executor import Job, Outcome
from rediver_agent.spool import Spool


@dataclass(frozen=True, slots=True)
class RestartHandler:
    """Restarts. `request` asks the agent to drain for so long and to start anew."""

    spool: Spool
    request: Callable[[timedelta], None]

    async def handle(self, job: Job) -> Outcome:
        """Deferred: the next start is the outcome."""
        if not isinstance(job.command, RestartCommand):
            raise InvalidPayload("a restart command has a number grace_period_seconds")
        await anyio.to_thread.run_sync(self.spool.restarting, job.id)
        self.request(timedelta(seconds=job.command.payload.grace_period_seconds))
        return Outcome(deferred=True)


def give_up_restarts(spool: Spool, now: datetime) -> None:
    """Answer those that will not come to be, because the agent was told to stop meanwhile."""
    for command in spool.held():
        if command.state == "restarting":
            stopped = CommandResult(
                status=ResultStatus.FAILED,
                completed_at=now,
                error="the agent was stopped before it could start anew",
                metadata={"reason": Reason.AGENT_STOPPED.value},
                attempt=command.attempt,
            )
            spool.finish(command.id, stopped, ())
