"""Pages that GitHub sent, to be asked for again by their ETag: what is unchanged costs no limit.

Best effort: a file that is damaged is not there, and one that cannot be written is done without.
What is kept was freed of secrets before. Another token has other pages.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

_KEPT_SECONDS: Final = 14 * 86_400
_MAX_FILE: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """The items of one answer, and the address of the next one."""

    items: list[Any]
    next: str | None
    etag: str = ""


class PageCache:
    """A directory of pages. Its methods block: call them in a thread."""

    def __init__(self, directory: Path, token: str, now: Callable[[], float]) -> None:
        self._directory = directory
        self._token = hashlib.sha256(token.encode()).digest()
        self._now = now

    def load(self, url: str) -> Page | None:
        """The page of an address, if it is known and whole."""
        path = self._path(url)
        try:
            if path.stat().st_size > _MAX_FILE:
                return None
            kept: object = json.loads(path.read_bytes())
            os.utime(path, (self._now(), self._now()))
        except (OSError, ValueError, RecursionError):
            return None
        return _page(kept, url)

    def keep(self, url: str, page: Page) -> None:
        """Keep a page, readable for this user alone."""
        with suppress(OSError):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            written = {"url": url, "etag": page.etag, "next": page.next, "items": page.items}
            descriptor, name = tempfile.mkstemp(dir=self._directory)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(written, file)
                Path(name).replace(self._path(url))
            except OSError:
                Path(name).unlink()
                raise
            os.utime(self._path(url), (self._now(), self._now()))

    def prune(self) -> None:
        """Remove what nobody has asked for in two weeks."""
        with suppress(OSError):
            for path in self._directory.iterdir():
                with suppress(OSError):
                    if path.stat().st_mtime < self._now() - _KEPT_SECONDS:
                        path.unlink()

    def _path(self, url: str) -> Path:
        return self._directory / hashlib.sha256(self._token + url.encode()).hexdigest()


def _page(kept: object, url: str) -> Page | None:
    if not isinstance(kept, dict):
        return None
    known = cast("dict[str, Any]", kept)
    items, following, etag = known.get("items"), known.get("next"), known.get("etag")
    if (
        known.get("url") != url
        or not isinstance(items, list)
        or not isinstance(following, str | None)
        or not (isinstance(etag, str) and etag)
    ):
        return None
    return Page(cast("list[Any]", items), following, etag)
