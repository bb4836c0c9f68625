"""How a running agent is seen from outside: its status file, its metrics, and by systemd."""

from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec

import anyio

from rediver_agent.errors import ConfigurationError
from rediver_agent.loops.snapshot import Snapshot
from rediver_agent.loops.status_file import FILE_NAME, StatusFile
from rediver_agent.loops.watchdog import WatchdogLoop
from rediver_agent.service import Service
from rediver_agent.spool import Spool


async def keep_in_view(snapshot: Snapshot, spool: Spool, service: Service) -> None:
    """Say what the agent does, and that it lives, until cancelled."""
    path = snapshot.configuration.settings.state_dir / FILE_NAME
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(StatusFile(path, snapshot, service).run)
        tasks.start_soon(WatchdogLoop(service, spool, snapshot.status, snapshot.configuration).run)


def metrics_of(snapshot: Snapshot) -> AbstractContextManager[None]:
    """Metrics while this is entered, if a port is set for them. Raises `ConfigurationError`."""
    port = snapshot.configuration.settings.agent.metrics_port
    if port is None:
        return nullcontext()
    if find_spec("prometheus_client") is None:
        raise ConfigurationError(
            "agent.metrics_port needs prometheus-client; install rediver-agent[metrics]"
        )
    # An agent without metrics does not pay for the library.
    return import_module("rediver_agent.loops.metrics").serving_metrics(port, snapshot)
