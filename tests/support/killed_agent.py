"""An agent that dies at a point of its work: `python killed_agent.py POINT CONFIG`.

POINT is `name:before:n` or `name:after:n`: the n-th call of one method of the agent is where the
process ends itself with SIGKILL, before the method has begun or after it has done its work.
Heartbeats are counted while a tool runs that has a child.
Everything else is the agent as it is shipped: the product has no hook for this.
"""

import inspect
import os
import signal
import sys
from functools import wraps

import psutil

from rediver_agent import cli
from rediver_agent.client import Client
from rediver_agent.errors import ServerRefused
from rediver_agent.orphans import SUPERVISORS
from rediver_agent.spool import Spool

PLACES = {
    "claim_id": (Spool, "claim_id"),
    "claim_call": (Client, "claim"),
    "begin_claimed": (Spool, "begin_claimed"),
    "single_claim": (Spool, "claim"),
    "acknowledge_call": (Client, "acknowledge"),
    "single_begin": (Spool, "begin"),
    "heartbeat_call": (Client, "heartbeat"),
    "progress_call": (Client, "progress"),
    "tool_named": (Spool, "record_run"),  # the first call for a tool
    "tool_started": (Spool, "record_run"),  # the second
    "tree_orphaned": (Spool, "record_run"),
    "open_report": (Spool, "open_report"),
    "add_findings": (Spool, "add_findings"),
    "finish": (Spool, "finish"),
    "findings_call": (Client, "send_findings"),
    "result_call": (Client, "send_result"),
    "results_call": (Client, "send_results"),
    "delivered": (Spool, "delivered"),
}
SINGLE_CALLS = {"single_claim", "acknowledge_call", "single_begin"}


def die(place):
    """End as by a kill from outside: nothing more is written, nobody is told."""
    if place == "tree_orphaned":  # with those who look after its tools
        for supervisor in list(SUPERVISORS):
            os.kill(supervisor, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def counts(place):
    """Whether a call is one of those that are counted."""
    supervisor_tool_and_child = 3
    return place != "heartbeat_call" or (
        len(psutil.Process().children(recursive=True)) >= supervisor_tool_and_child
    )


def deadly(method, place, moment, number):
    """The method, that ends the process around its `number`-th call."""
    left = [number]

    def passed(now):
        if now == moment and counts(place):
            left[0] -= 1
            if not left[0]:
                die(place)

    @wraps(method)
    def call(*arguments, **named):
        passed("before")
        value = method(*arguments, **named)
        passed("after")
        return value

    @wraps(method)
    async def call_async(*arguments, **named):
        passed("before")
        value = await method(*arguments, **named)
        passed("after")
        return value

    return call_async if inspect.iscoroutinefunction(method) else call


async def not_there(*_):
    """What a server of the origin's three calls answers to a claim."""
    raise ServerRefused("there is no such call", status=404, code="NOT_FOUND")


def main():
    """The agent's command line, with death in it."""
    point, config = sys.argv[1:]
    place, moment, number = point.split(":")
    if place in SINGLE_CALLS:
        Client.claim = not_there
    owner, name = PLACES[place]
    setattr(owner, name, deadly(getattr(owner, name), place, moment, int(number)))
    sys.argv[1:] = ["run", "--config", config]
    cli.main()


if __name__ == "__main__":
    main()
