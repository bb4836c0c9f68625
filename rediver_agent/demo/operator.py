"""What a person at the server does, over its API: command scans, watch them, read findings."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx

from rediver_agent.contract import routes
from rediver_agent.contract.base import parse
from rediver_agent.contract.commands import Command
from rediver_agent.contract.findings import Finding
from rediver_agent.demo.stage import Stage
from rediver_agent.errors import ServerUnavailable

PAGE: Final = 100


class Operator:
    """One operator's calls. Use it as `async with`. Raises `ServerUnavailable` for any refusal."""

    def __init__(self, stage: Stage) -> None:
        self._source_id = stage.source_id
        headers = {routes.AUTHORIZATION: f"Bearer {stage.operator_key}"}
        self._http = httpx.AsyncClient(base_url=stage.base_url, headers=headers, timeout=30)

    async def __aenter__(self) -> "Operator":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def command_scan(self, scanner: str, target: str) -> Command:
        """Have the stage's agent run a scanner on a target."""
        body = {
            "type": "scan",
            "source_id": self._source_id,
            "payload": {"scanner": scanner, "target": target, "report_progress": True},
        }
        return parse(Command, await self._call("POST", routes.COMMANDS, json=body))

    async def command(self, command_id: str) -> Command:
        """A command as it stands now."""
        return parse(Command, await self._call("GET", routes.COMMAND.format(id=command_id)))

    async def findings(self) -> AsyncGenerator[tuple[str, Finding]]:
        """Every finding that the server has stored, with the tool that found it."""
        cursor: str | None = None
        while True:
            query = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
            page = await self._call("GET", routes.FINDINGS, params=query)
            for item in page["findings"]:
                yield item["tool"], parse(Finding, item)
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    async def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = await self._http.request(method, path, **request)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as fault:
            raise ServerUnavailable(
                f"the demo's server did not do {method} {path}: {fault}"
            ) from fault
