"""GitHub's REST API: lists, page by page, to their end.

The token goes to the host of `base_url` and nowhere else: a next page or a redirect that leads away
ends the collection. Faults of the network and 5xx are tried again; limits are waited for, as long
as the options allow. Whatever is not a list of JSON is an error, never an empty list.
"""

import json
import re
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import anyio
import anyio.to_thread
import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from rediver_agent import ToolError, __version__
from rediver_github._cache import Page, PageCache
from rediver_github._options import Options
from rediver_github._refusals import (
    LimitReached,
    Refused,
    Unreachable,
    refusal,
    seconds_to_wait,
)
from rediver_github._values import Object, table, text
from rediver_github.alerts import without_secret

API_VERSION: Final = "2022-11-28"
PER_PAGE: Final = 100
ATTEMPTS: Final = 4
MAX_ANSWER: Final = 64 << 20
_ANSWER_SECONDS: Final = 300.0  # for all of one: an answer that trickles must end
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0)
_MAX_REDIRECTS: Final = 5
_MAX_MESSAGE: Final = 300
_FAILURES: Final = 3  # in a row, each after all of its attempts: GitHub is down
_OK: Final = 200
_UNCHANGED: Final = 304
_TIMED_OUT: Final = 408
_NEXT: Final = re.compile(r"""\brel\s*=\s*["']?[^"';,]*\bnext\b""", re.IGNORECASE)
_REDIRECTS: Final = frozenset({301, 302, 307, 308})
_NO_CONNECTION: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_FAULTS: Final = (httpx.HTTPError, httpx.StreamError, ssl.SSLError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Clock:
    """The time, and how it passes."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    next: str | None
    body: bytes

    @property
    def message(self) -> str:
        """What GitHub says of it, in one line."""
        try:
            said = text(table(json.loads(self.body)).get("message"))
        except (ValueError, RecursionError):
            return ""
        return " ".join(said.split())[:_MAX_MESSAGE]


class _TryAgain(Exception):
    """It may fare better in a moment."""


class Client:
    """A connection to GitHub. Use it as `async with`. `say` tells people what is waited for."""

    def __init__(
        self, options: Options, cache: PageCache, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._say = say
        self._patience = float(options.max_wait_seconds)
        self._failures = 0
        self.base_url = options.base_url
        self._http = _http(options)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def pages(
        self, path: str, query: Mapping[str, str], *, what: str, right: str
    ) -> AsyncGenerator["Fetched"]:
        """Every page of a list. Raises `Refused`, or `ToolError` where nothing more will come."""
        url = httpx.URL(self.base_url + path, params={"per_page": str(PER_PAGE), **query})
        seen: set[str] = set()
        following: httpx.URL | None = url
        while following is not None:
            if str(following) in seen:
                raise Refused(f"{what}: the pages of GitHub's list go in a circle")
            seen.add(str(following))
            fetched = await self._page(following, what, right)
            yield fetched
            named = fetched.page.next
            following = self._own(following, named, "a next page") if named else None

    async def _page(self, url: httpx.URL, what: str, right: str) -> "Fetched":
        moved = False
        for _ in range(_MAX_REDIRECTS):
            kept = await anyio.to_thread.run_sync(self._cache.load, str(url))
            answer = await self._answer(url, kept.etag if kept and _is_settled(kept) else "", what)
            if answer.status in _REDIRECTS:
                url = self._own(url, answer.headers.get("location", ""), "a redirect")
                moved = True
                continue
            if answer.status == _UNCHANGED and kept is not None:
                return Fetched(replace(kept, next=answer.next or kept.next), moved)
            if answer.status != _OK:
                raise refusal(answer.status, answer.message, what, right)
            page = await anyio.to_thread.run_sync(_read, answer, what)
            if page.etag:
                await anyio.to_thread.run_sync(self._cache.keep, str(url), page)
            return Fetched(page, moved)
        raise Refused(f"{what}: GitHub redirects more than {_MAX_REDIRECTS} times")

    async def _answer(self, url: httpx.URL, etag: str, what: str) -> Answer:
        """The answer once no limit is in the way."""
        while True:
            answer = await self._tried(url, etag, what)
            now = self._clock.now()
            wait = seconds_to_wait(answer.status, answer.headers, answer.message, now)
            if wait is None:
                return answer
            # Never nothing: an answer that asks for 0 s again and again must come to an end.
            cost = max(wait, 1.0)
            if cost > self._patience:
                raise LimitReached(
                    f"GitHub's rate limit is used up for another {wait:.0f} s, and "
                    f"max_wait_seconds leaves {self._patience:.0f} s for waiting; collect later or "
                    "less at once, or raise it"
                )
            self._patience -= cost
            self._say(f"waiting {wait:.0f} s for GitHub's rate limit")
            await self._clock.sleep(wait)

    async def _tried(self, url: httpx.URL, etag: str, what: str) -> Answer:
        """The answer of the first attempt that has one."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgain),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=1, max=30),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            answer: Answer = await attempts(self._once, url, etag)
        except _TryAgain as fault:
            self._failures += 1
            sentence = f"{what}: {fault}, {ATTEMPTS} times"
            if self._failures >= _FAILURES or isinstance(fault.__cause__, _NO_CONNECTION):
                raise Unreachable(f"{sentence}; GitHub or what is before it is down") from fault
            raise Refused(sentence) from fault
        self._failures = 0
        return answer

    async def _once(self, url: httpx.URL, etag: str) -> Answer:
        headers = {"If-None-Match": etag} if etag else {}
        try:
            with anyio.fail_after(_ANSWER_SECONDS):
                async with self._http.stream("GET", url, headers=headers) as response:
                    body = await _body(response)
        except _FAULTS as fault:
            why = str(fault) or type(fault).__name__
            raise _TryAgain(f"{url.host} could not be asked ({why})") from fault
        except httpx.InvalidURL as fault:
            raise ToolError(f"{url.host} led to an address that is none") from fault
        limited = seconds_to_wait(response.status_code, response.headers, "", 0) is not None
        if (response.is_server_error and not limited) or response.status_code == _TIMED_OUT:
            raise _TryAgain(f"{url.host} answered {response.status_code}")
        following = response.links.get("next", {}).get("url")
        return Answer(url, response.status_code, response.headers, following, body)

    def _own(self, url: httpx.URL, other: str, what: str) -> httpx.URL:
        """An address that GitHub names, if it is its own."""
        try:
            found = url.join(other)
        except httpx.InvalidURL:
            found = httpx.URL()
        home = httpx.URL(self.base_url)
        if (found.scheme, found.host, found.port) != (home.scheme, home.host, home.port):
            raise ToolError(
                f"GitHub named {what} at {found.host or 'no host'!r}, which is not {home.host!r}; "
                "the token is not sent there. Is base_url the address that GitHub itself uses?"
            )
        return found.copy_with(username="", password="", fragment=None) if found.userinfo else found


@dataclass(frozen=True, slots=True)
class Fetched:
    """A page, and whether GitHub had to be asked elsewhere: the repository has another name."""

    page: Page
    moved: bool


def _http(options: Options) -> httpx.AsyncClient:
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {options.token.get_secret_value()}",
        "User-Agent": f"rediver-agent/{__version__}",
        "X-GitHub-Api-Version": API_VERSION,
    }
    try:
        trusted = ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True
    except (OSError, ssl.SSLError) as fault:
        raise ToolError(f"ca_file {options.ca_file} cannot be used: {fault}") from fault
    try:
        return httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, verify=trusted)
    except (httpx.InvalidURL, ValueError, ImportError):  # a proxy's password would be in its text
        raise ToolError(
            "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or NO_PROXY of the environment cannot be used; "
            "write a proxy like http://proxy.example.com:3128"
        ) from None


def _is_settled(page: Page) -> bool:
    """Whether being unchanged means that nothing follows which did not follow before: what comes
    after a last page that is full changes its address alone.
    """
    return page.next is not None or len(page.items) < PER_PAGE


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise Refused(f"{response.url.host} answered more than {MAX_ANSWER >> 20} MiB")
    return bytes(body)


def _read(answer: Answer, what: str) -> Page:
    """The items of an answer, without secrets. Runs in a thread."""
    try:
        items: object = json.loads(answer.body)
        known = [
            without_secret(cast("Object", item)) if isinstance(item, dict) else item
            for item in (cast("list[Any]", items) if isinstance(items, list) else ())
        ]
    except (ValueError, RecursionError) as fault:
        page = answer.body.lstrip()[:1] == b"<"
        shown = "a page of HTML" if page else "what is no JSON"
        raise Refused(
            f"{what}: {answer.url.host} answered {shown}; is a proxy or a sign-in page before it, "
            "or does base_url lack /api/v3?"
        ) from fault
    if not isinstance(items, list):
        more = " (GraphQL? the REST API's base_url is meant)" if "data" in table(items) else ""
        raise Refused(f"{what}: {answer.url.host} answered what is no list{more}")
    if not answer.next and _NEXT.search(answer.headers.get("link", "")):
        raise Refused(f"{what}: {answer.url.host} names a next page in words that are not GitHub's")
    return replace(Page(known, answer.next), etag=answer.headers.get("etag", ""))
