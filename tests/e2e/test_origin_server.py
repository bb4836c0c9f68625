"""An agent under a server that knows the origin document's three calls and nothing else."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from house import BIN, Program, wait_for
from stub_scanner import behave


class OriginServer:
    """Hands out one command until it is acknowledged, and keeps the results. The rest is 404."""

    def __init__(self, command):
        self.calls = []
        self.results = []
        self.pending = [command]
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                poll = self.path.startswith("/api/v1/commands?")
                self._answer(
                    {"commands": origin.pending, "poll_interval_seconds": 1} if poll else None
                )

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                _, _, rest = self.path.partition("/api/v1/commands/cmd_abc123/")
                origin.calls.append(rest or self.path)
                if rest == "acknowledge":
                    origin.pending = []
                    self._answer({"acknowledged": True, "command_id": "cmd_abc123"})
                elif rest == "result":
                    origin.results.append(json.loads(body))
                    self._answer({})
                else:
                    self._answer(None)

            def _answer(self, document):
                content = b"<html>404</html>" if document is None else json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def origin(tmp_path):
    command = {
        "id": "cmd_abc123",
        "type": "scan",
        "priority": "high",
        "created_at": "2024-01-16T10:00:00Z",
        "payload": {"scanner": "stub", "target": str(tmp_path / "app"), "timeout_seconds": 1800},
    }
    server = OriginServer(command)
    yield server
    server.close()


def test_three_calls_are_enough_for_a_command_and_its_result(origin, stub_env, tmp_path):
    behave(tmp_path / "app", findings=15)
    config = tmp_path / "agent.yaml"
    settings = {
        "agent": {"enable_command_polling": True, "command_poll_interval": "1s"},
        "server": {
            "base_url": f"http://127.0.0.1:{origin.http.server_port}",
            "api_key": "rs_src_xxxxxxxx",
            "source_id": "src_abc123",
        },
        "security": {"allowed_targets": [str(tmp_path)]},
        "state_dir": str(tmp_path / "state"),
    }
    config.write_text(yaml.safe_dump(settings))
    agent = Program(
        tmp_path / "log", BIN / "rediver-agent", "run", "--config", config, env=stub_env
    )
    try:
        wait_for(lambda: origin.results, f"the result arrives:\n{agent.text()}")
    finally:
        agent.stop()

    (result,) = origin.results
    assert (result["status"], result["findings_count"], result["exit_code"]) == ("completed", 15, 0)
    assert result["completed_at"].endswith("Z")
    assert "attempt" not in result, "what the server never gave is not made up"
    assert origin.calls.count("acknowledge") == 1
