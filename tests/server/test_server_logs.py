"""The log of a real server process: one line a request, and never a key, a query or a body."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from house import BIN, House, Program, wait_for


class LoggingHouse(House):
    """A house whose server logs as it is told to."""

    def start_logging(self, log_format: str) -> None:
        log = self.directory / "server.log"
        self.server = Program(
            log, str(BIN / "rediver-server"), "serve", "--port", "0",
            "--database-url", self.database,
            env={"REDIVER_SERVER_LOG_FORMAT": log_format},
        )  # fmt: skip
        self.programs.append(self.server)
        found = wait_for(lambda: "listening on http://" in log.read_text(), "it listens")
        assert found
        self.port = int(log.read_text().partition("127.0.0.1:")[2].split()[0])

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.server.text().splitlines() if line[:1] == "{"]

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=30, **sent)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[LoggingHouse]:
    house = LoggingHouse(tmp_path)
    yield house
    house.close()


def test_a_request_is_one_line_of_json_that_says_who_did_what(house: LoggingHouse):
    house.start_logging("json")
    command = house.command("health_check", payload={})
    headers = {"Authorization": f"Bearer {house.source['api_key']}", "X-Request-ID": "trace-1"}
    path = f"/api/v1/commands/{command}/acknowledge"
    assert house.request("POST", path, headers=headers).status_code == 200

    (line,) = [each for each in house.lines() if each.get("request_id") == "trace-1"]
    assert line["method"] == "POST"
    assert line["route"] == "/api/v1/commands/<id:item>/acknowledge"
    assert line["status"] == 200
    assert line["duration_ms"] > 0
    assert line["tenant_id"] == house.tenant_id
    assert line["source_id"] == house.source["id"]
    assert line["command_id"] == command
    assert line["remote"] == "127.0.0.1"
    assert line["timestamp"].endswith(("Z", "+00:00"))


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_key_query_or_body_is_ever_in_the_log(house: LoggingHouse, log_format: str):
    house.start_logging(log_format)
    key, secret = house.admin_key, "hunter2-in-a-body"
    auth = {"Authorization": f"Bearer {key}"}
    asked = [
        house.request("GET", "/api/v1/commands", headers=auth, params={"status": key}),
        house.request("GET", f"/api/v1/commands/{key}", headers=auth),
        house.request("GET", f"/api/v1/commands/{key.replace('_', '%5F')}", headers=auth),
        house.request("GET", f"/api/v1/{key}", headers={**auth, "X-Request-ID": key[:60]}),
        house.request("GET", "/api/v1/commands", headers={"Authorization": key, "Cookie": key}),
        house.request("POST", "/api/v1/commands", headers=auth, json={"type": key, key: secret}),
        house.request("POST", f"/api/v1/sources?{key}", headers=auth, content=f"{key}{secret}"),
        house.request(key.upper().replace("-", "_"), "/api/v1/commands", headers=auth),
    ]
    assert all(reply.status_code >= 400 for reply in asked)
    with socket.create_connection(("127.0.0.1", house.port)) as raw:  # not HTTP at all
        raw.sendall(f"GET /{key} {key.replace('_', '%5F')}\r\n{key}\r\n\r\n".encode())
        assert raw.recv(1000)
    house.request("GET", "/healthz", headers={"X-Request-ID": "the-last"})
    wait_for(lambda: "the-last" in house.server.text(), "the last request is in the log")

    text = house.server.text()
    assert text.count("/api/v1/commands") >= 3
    assert key[8:30] not in text
    assert key[8:30].upper().replace("-", "_") not in text
    assert secret not in text


def test_what_goes_wrong_inside_is_logged_under_the_request_that_met_it(house: LoggingHouse):
    house.start_logging("json")
    with closing(sqlite3.connect(house.directory / "server.sqlite3")) as database:
        database.execute("DROP TABLE commands")
    auth = {"Authorization": f"Bearer {house.admin_key}", "X-Request-ID": "unlucky"}
    scan = {"scanner": "semgrep", "target": "hunter2-in-a-body"}
    order = {"type": "scan", "payload": scan}
    reply = house.request("POST", "/api/v1/commands", headers=auth, json=order)
    assert reply.status_code >= 500
    assert "commands" not in reply.text

    under = [each for each in house.lines() if each.get("request_id") == "unlucky"]
    assert [each["levelname"] for each in under] == ["ERROR", "INFO"]
    assert "no such table" in under[0]["message"]
    assert "hunter2" not in house.server.text()
