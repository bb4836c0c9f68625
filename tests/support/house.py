"""Real processes for end-to-end tests: a server with a tenant, agents of it, and their operator.

Nothing here is a double: programs are started as a user would, on loopback and free ports, and are
ended by their own process id when the test ends.
"""

import json
import os
import re
import signal
import subprocess  # noqa: TID251 - the tests start the programs themselves
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import yaml
from click.testing import CliRunner

from rediver_server.cli import commands

BIN = Path(sys.executable).parent
DEADLINE = 60.0
TERMINAL = {"completed", "failed", "cancelled", "expired"}


def wait_for(condition: Callable, what: str | Callable[[], str], deadline: float = DEADLINE):
    """What `condition` returns as soon as that is true; a failed test if it never is.

    A function for `what` is asked when it has failed: it can tell how things stand then.
    """
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    told = what if isinstance(what, str) else what()
    raise AssertionError(f"in {deadline:.0f} s it did not come to this: {told}")


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Program:
    """A started program with its output in a file."""

    def __init__(self, log: Path, *command: str, env: dict | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    **os.environ, "PYTHONUNBUFFERED": "1",
                    "REDIVER_SERVER_POLL_INTERVAL_SECONDS": "1",
                    "REDIVER_SERVER_CREATIONS_PER_MINUTE": "0", **(env or {}),
                },
            )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end. Returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end:\n{self.text()[-2000:]}") from None

    def crash(self) -> None:
        """Kill it and its workers at once, as when its machine goes down."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class House:
    """A server over one SQLite file, and agents of one tenant.

    With `lodging` it is another tenant of that house's server, which is not its to stop.
    """

    def __init__(self, directory: Path, lodging: "House | None" = None) -> None:
        self.directory = directory
        self.database = f"sqlite:///{directory / 'server.sqlite3'}"
        self.programs: list[Program] = []
        self.server: Program | None = None
        self.port = 0
        name = "acme"
        if lodging is not None:
            self.database, self.port = lodging.database, lodging.port
            name = f"acme-{directory.name}"
        tenant = self.server_says("tenant", "create", name)
        self.tenant_id, self.admin_key = tenant["tenant_id"], tenant["api_key"]
        self.source = self.server_says(
            "source", "create", "--tenant", self.tenant_id, "--name", "a"
        )

    def server_says(self, *arguments: str) -> dict:
        """What `rediver-server` prints; run in this process, for it starts in a second."""
        flags = ["--json", "--database-url", self.database]
        done = CliRunner().invoke(commands, [*arguments, *flags])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def start_server(self, env: dict | None = None) -> None:
        """Start it, on the port that it had before if it had one."""
        log = self.directory / f"server-{len(self.programs)}.log"
        self.server = Program(
            log, str(BIN / "rediver-server"), "serve", "--port", str(self.port),
            "--database-url", self.database, env=env,
        )  # fmt: skip
        self.programs.append(self.server)
        found = wait_for(
            lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text()),
            f"the server listens: {log}",
        )
        self.port = int(found[1])

    def start_agent(self, *roots: Path, state: str = "state", env=None, **settings) -> Program:
        """An agent that may scan `roots`. `settings` are merged over its configuration."""
        config = self.agent_config(*roots, state=state, **settings)
        log = self.directory / f"agent-{len(self.programs)}.log"
        agent = Program(log, str(BIN / "rediver-agent"), "run", "--config", str(config), env=env)
        self.programs.append(agent)
        return agent

    def agent_config(self, *roots: Path, state: str = "state", **settings) -> Path:
        document = {
            "agent": {
                "name": "test-agent", "enable_command_polling": True, "command_poll_interval": "1s",
                "heartbeat_interval": "1s", **settings.pop("agent", {}),
            },
            "server": {
                "base_url": f"http://127.0.0.1:{self.port}", "api_key": self.source["api_key"],
                "source_id": self.source["id"], **settings.pop("server", {}),
            },
            "security": {"allowed_targets": [str(root) for root in roots]},
            "state_dir": str(self.directory / state),
            **settings,
        }  # fmt: skip
        config = self.directory / f"agent-{len(self.programs)}.yaml"
        config.write_text(yaml.safe_dump(document))
        return config

    def call(self, method: str, path: str, body=None, key: str | None = None) -> tuple[int, dict]:
        """One request as the operator. Returns status and document."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {key or self.admin_key}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else {}
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def command(self, type_name: str = "scan", **fields) -> str:
        """Create a command for the source. Returns its id."""
        body = {"type": type_name, "source_id": self.source["id"], **fields}
        status, created = self.call("POST", "/api/v1/commands", body)
        assert status == 201, created
        return created["id"]

    def scan(self, target: Path | str, scanner: str = "stub", **payload) -> str:
        return self.command(payload={"scanner": scanner, "target": str(target), **payload})

    def get(self, command_id: str) -> dict:
        return self.call("GET", f"/api/v1/commands/{command_id}")[1]

    def outcome(self, command_id: str) -> dict:
        """The command when it is over."""
        return wait_for(
            lambda: found if (found := self.get(command_id)).get("status") in TERMINAL else None,
            f"{command_id} is over; the agent said:\n{self.logs()}",
        )

    def running(self, command_id: str) -> dict:
        """The command when it runs."""
        return wait_for(
            lambda: found if (found := self.get(command_id))["status"] == "running" else None,
            f"{command_id} runs; the agent said:\n{self.logs()}",
        )

    def findings(self) -> list[dict]:
        """Everything that the server has stored."""
        found, query = [], "limit=100"
        while True:
            _, page = self.call("GET", f"/api/v1/findings?{query}")
            found += page["findings"]
            if page["next_cursor"] is None:
                return found
            query = f"limit=100&cursor={page['next_cursor']}"

    def logs(self) -> str:
        return "\n".join(program.text()[-1500:] for program in self.programs)

    def close(self) -> None:
        """End everything that was started."""
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.crash()
