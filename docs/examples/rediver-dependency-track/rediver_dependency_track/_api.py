"""Dependency-Track's REST API: pages of JSON, read to their end.

An answer that is none is an error with a sentence that says what to do. Redirects are not followed,
so that the token goes to the operator's address alone.
"""

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

from rediver_agent import ToolError

PAGE = 100
_ADVICE = {
    401: "the token is not known there; make a new one",
    403: "the token's team may not see it; give it VIEW_PORTFOLIO and VIEW_VULNERABILITY",
    404: "there is no such thing; is `url` the address of its API?",
}


class Refused(ToolError):
    """The server's answer is no page, and why."""


class Api:
    """One server, with a token."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def pages(self, path: str, **asked: str) -> AsyncIterator[list[dict[str, Any]]]:
        """Every page of a list. Raises `Refused` where one is missing or comes out short."""
        seen, number, total = 0, 1, None
        while total is None or seen < total:
            page, total = await self._page(path, {**asked, "pageNumber": str(number)})
            if not page and seen < total:
                raise Refused(
                    f"{path}: the list ended after {seen} of {total}; it has changed while it was "
                    "read: collect again"
                )
            yield page
            seen, number = seen + len(page), number + 1

    async def _page(self, path: str, asked: dict[str, str]) -> tuple[list[dict[str, Any]], int]:
        try:
            answer = await self._client.get(path, params={**asked, "pageSize": str(PAGE)})
        except httpx.HTTPError as fault:
            why = str(fault) or type(fault).__name__
            raise ToolError(f"{self._client.base_url} cannot be reached: {why}") from fault
        if not answer.is_success:
            advice = _ADVICE.get(answer.status_code, "look into its log")
            raise Refused(f"{path} was answered with {answer.status_code}: {advice}")
        try:
            page, total = answer.json(), int(answer.headers["X-Total-Count"])
        except (KeyError, ValueError) as fault:
            raise Refused(
                f"{path}: this is no answer of Dependency-Track's API: {fault}"
            ) from fault
        if not isinstance(page, list):
            raise Refused(f"{path}: this is no answer of Dependency-Track's API: it is no list")
        return cast("list[dict[str, Any]]", page), total
