"""A plain client of the contract as agent: told by WebSocket, then claims and answers in batches.

    .venv/bin/python tests/benchmarks/plain_agent.py PORT KEY

It does nothing but the wire. The no-op of a scan writes down when it began if its scanner is
`probe`, into the file that its target names. Each line on stdout names the commands whose results
the server has just accepted.
"""

import http.client
import json
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simple_websocket import Client, ConnectionClosed

_AT_ONCE = 100


def main() -> None:
    """Work until it is ended."""
    port, key = int(sys.argv[1]), sys.argv[2]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    socket = Client(f"ws://127.0.0.1:{port}/api/v1/agents/ws", headers=headers)
    rung = threading.Event()
    threading.Thread(target=_listen, args=(socket, rung), daemon=True).start()

    def call(path: str, body: object) -> dict[str, Any]:
        connection.request("POST", f"/api/v1{path}", json.dumps(body), headers)
        reply = connection.getresponse()
        answer = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{path}: {reply.status} {answer[:500]!r}")
        return json.loads(answer)

    call("/ingest/heartbeat", {"name": "bench", "status": "running", "scanners": ["noop"]})
    while True:
        rung.clear()
        claimed = call("/commands/claim", {"claim_id": uuid.uuid4().hex, "limit": _AT_ONCE})
        if not claimed["commands"]:
            rung.wait(claimed["poll_interval_seconds"])
            continue
        answers = call(
            "/commands/results", {"results": [_done(each) for each in claimed["commands"]]}
        )
        print(*(_accepted(each) for each in answers["results"]), flush=True)


def _listen(socket: Client, rung: threading.Event) -> None:
    try:
        while True:
            socket.receive()
            rung.set()
    except ConnectionClosed:
        sys.stderr.write("the WebSocket was closed: from here on it polls\n")


def _done(command: dict[str, Any]) -> dict[str, Any]:
    payload = command["payload"]
    if payload["scanner"] == "probe":
        Path(payload["target"]).write_text(f"{time.monotonic():.9f}\n")
    return {
        "command_id": command["id"],
        "attempt": command["attempt"],
        "status": "completed",
        "completed_at": datetime.now(UTC).isoformat(),
        "findings_count": 0,
    }


def _accepted(outcome: dict[str, Any]) -> str:
    if outcome["status"] != 200:
        raise SystemExit(f"a result was refused: {outcome}")
    return outcome["command_id"]


if __name__ == "__main__":
    main()
