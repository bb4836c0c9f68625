"""Everything that the demo needs, started for real and stopped again: a database, a server with a
tenant and a source, and an agent of that source. All of it lives in one temporary directory.
"""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import yaml
from anyio.abc import Process

from rediver_agent.errors import ConfigurationError

READY_SECONDS: Final = 60.0  # a laptop that has never compiled these modules
STOP_SECONDS: Final = 30.0
_HURRIED: Final = {"REDIVER_SERVER_POLL_INTERVAL_SECONDS": "1"}  # nobody wants to watch 30 s
_LISTENING: Final = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True, slots=True)
class Stage:
    """A running server with an agent, and the key of its operator."""

    base_url: str
    operator_key: str
    source_id: str


@asynccontextmanager
async def staged(directory: Path, app: Path) -> AsyncGenerator[Stage]:
    """A server and an agent that may scan `app`, until the block ends.

    Raises `ConfigurationError` if one of them does not start, with what it said last.
    """
    database = f"sqlite:///{directory / 'rediver.sqlite3'}"
    tenant = await _server_says(database, "tenant", "create", "demo")
    source = await _server_says(
        database, "source", "create", "--tenant", tenant["tenant_id"], "--name", "demo-agent"
    )
    async with _running(directory, "server", _program("rediver-server"), "serve", "--port", "0",
                        "--database-url", database) as server:  # fmt: skip
        base_url = await _address(server, directory / "server.log")
        config = _agent_config(directory, app, base_url, source)
        async with _running(
            directory, "agent", _program("rediver-agent"), "run", "--config", str(config)
        ):
            yield Stage(base_url, tenant["api_key"], source["id"])


def _program(name: str) -> str:
    """A program of this installation, before any other of that name."""
    here = Path(sys.executable).with_name(name)
    found = str(here) if here.exists() else shutil.which(name)
    if found is None:
        raise ConfigurationError(f"{name} is not installed; the demo needs it: pip install {name}")
    return found


async def _server_says(database: str, *arguments: str) -> dict[str, Any]:
    command = [_program("rediver-server"), *arguments, "--json", "--database-url", database]
    done = await anyio.run_process(command, check=False)
    if done.returncode:
        raise ConfigurationError(done.stderr.decode(errors="replace").strip())
    return json.loads(done.stdout)


def _agent_config(directory: Path, app: Path, base_url: str, source: dict[str, Any]) -> Path:
    config = directory / "agent.yaml"
    document = {
        "agent": {
            "name": "demo-agent",
            "enable_command_polling": True,
            "command_poll_interval": "1s",
            "max_concurrent": 2,
        },
        "server": {"base_url": base_url, "api_key": source["api_key"], "source_id": source["id"]},
        "security": {"allowed_targets": [str(app)]},
        "state_dir": str(directory / "agent"),
    }
    config.touch(mode=0o600)
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    return config


@asynccontextmanager
async def _running(directory: Path, name: str, *command: str) -> AsyncGenerator[Process]:
    """A program with its output in a log, ended by SIGTERM when the block ends."""
    log = directory / f"{name}.log"
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **_HURRIED}
    with log.open("wb") as output:
        process = await anyio.open_process(command, stdout=output, stderr=output, env=env)
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    with anyio.move_on_after(STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


async def _address(server: Process, log: Path) -> str:
    output = ""
    with anyio.move_on_after(READY_SECONDS):
        while server.returncode is None:
            output = await anyio.Path(log).read_text(errors="replace")
            if match := _LISTENING.search(output):
                return match[1]
            await anyio.sleep(0.05)
    last = output.strip().splitlines()[-3:]
    raise ConfigurationError("the server did not start: " + " / ".join(last))
