"""One command through the real executor and spool, and what is kept of it for the server."""

import json

import anyio

from rediver_agent.executor import Job


def kept_for_server(executor, spool, command, meddle=None):
    """(kind, document) of each row, in the order of sending. `meddle` may act while it runs."""

    async def main():
        spool.claim(command.id)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(executor.execute, Job(command, 1))
                if meddle is not None:
                    await meddle(executor)
            await executor.wait_idle()

    anyio.run(main)
    rows = []
    while (due := spool.next_due()) is not None:
        rows.append((due[0].kind, json.loads(due[1])))
        spool.delivered(due[0])
    spool.close()
    return rows
