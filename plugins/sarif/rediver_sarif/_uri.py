"""From a SARIF artifact location to a path relative to what was scanned.

Base ids are followed to their root, percent-encoding is undone, and what lies below a root that the
run names becomes relative to it. Nothing that comes out can lead out of a folder: no leading slash,
no `..`. Where that took something away, the address as it was written is kept beside the path.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from rediver_sarif._values import distinct, index, table, text

MAX_URI: Final = 4000
_SHORT: Final = 300  # what is remembered
_MAX_CHAIN: Final = 50  # bases that rest on each other: some have two
_MAX_ROOTS: Final = 100
_PLAIN: Final = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)*")  # nothing to resolve in it
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C: is a drive
_DOTS: Final = re.compile(r"/\.{1,2}(?:/|$)")
_DRIVE: Final = re.compile(r"[A-Za-z]:/")
_SOURCE_ROOTS: Final = frozenset({"SRCROOT", "SOURCEROOT"})


Place = tuple[str | None, str | None]
"""A path, and the address it came from where that says more."""


class Paths:
    """The paths of one run. `folders` are the addresses of the tool's working directories."""

    def __init__(
        self,
        bases: Mapping[str, Any],
        folders: Iterable[str],
        artifact: Callable[[int], Mapping[str, Any]],
    ) -> None:
        self._bases = bases
        self._artifact = artifact
        self._roots = self._ranked_roots(folders)
        self._known = lru_cache(4096)(self.resolved)
        self._before = lru_cache(256)(self._what_comes_before)
        self._listed = lru_cache(1024)(self._of_artifact)

    def of(self, location: object) -> Place:
        """The place of an `artifactLocation`, by its address or its place in `run.artifacts`."""
        where = table(location)
        uri, base = where.get("uri"), where.get("uriBaseId")
        if not uri and (place := index(where.get("index"))) is not None:
            return self._listed(place)
        if type(uri) is str and (base is None or type(base) is str):
            return self.at(uri, base)
        return self.resolved(uri, base)

    def at(self, uri: str, base: str | None) -> Place:
        """The place at an address."""
        if len(uri) >= _SHORT:
            return self.resolved(uri, base)
        if _PLAIN.fullmatch(uri) and (before := self._before(base)) is not None:
            return before + uri, None
        return self._known(uri, base)

    def _what_comes_before(self, base_id: str | None) -> str | None:
        """What every plain address of a base has before it; None where that depends on it."""
        base = text(base_id, MAX_URI)
        if base not in self._bases:
            return ""
        start = _decoded(self._joined("", base)).rstrip("/") + "/"
        if len(start) > MAX_URI or any(
            root != start and root.startswith(start) for root in self._roots
        ):
            return None  # a root within: some of the addresses are relative to that one
        path, address = self.resolved("x", base)
        return path[:-1] if path and address is None else None

    def _of_artifact(self, place: int) -> Place:
        where = self._artifact(place)
        return self.resolved(where.get("uri"), where.get("uriBaseId"))

    def resolved(self, written: object, base_id: object) -> Place:
        """The same, of any address and base id, and nothing of it remembered."""
        uri, base = text(written, MAX_URI), text(base_id, MAX_URI)
        if base not in self._bases and _PLAIN.fullmatch(uri):
            return uri, None
        path = _decoded(self._joined(uri, base))
        for root in self._roots if _is_absolute(path) else ():
            if path.startswith(root):
                return _contained(path.removeprefix(root)) or None, None
        contained = _contained(path)
        kept = not _is_absolute(path) and not _leads_out(path)
        return contained or None, None if kept or contained == uri else uri

    def _joined(self, uri: str, base: str) -> str:
        """The address with the bases it rests on before it, to the first absolute one."""
        joined, seen = uri.strip().removeprefix("%SRCROOT%/"), set[str]()
        while base in self._bases and base not in seen and not _is_absolute(joined):
            if len(seen) == _MAX_CHAIN:
                break
            seen.add(base)
            entry = table(self._bases[base])
            if before := text(entry.get("uri"), MAX_URI).strip():
                joined = f"{before.rstrip('/')}/{joined}"[: 2 * MAX_URI]
            base = text(entry.get("uriBaseId"), MAX_URI)
        return joined

    def _ranked_roots(self, folders: Iterable[str]) -> list[str]:
        """What paths may be relative to: the source root, then the outermost, then the folders."""
        named = {name: _decoded(self._joined("", name)) for name in self._bases}
        ranked = sorted(
            named, key=lambda name: (_bare(name) not in _SOURCE_ROOTS, len(named[name]))
        )
        roots = [named[name] for name in ranked] + [_decoded(folder) for folder in folders]
        absolute = [root for root in roots if _is_absolute(root) and root.strip("/")]
        return [f"{root.rstrip('/')}/" for root in distinct(absolute, _MAX_ROOTS)]


def _bare(name: str) -> str:
    return re.sub(r"[^A-Z]", "", name.upper())


def _is_absolute(address: str) -> bool:
    return address.startswith(("/", "\\")) or bool(
        _SCHEME.match(address) or _DRIVE.match(address.replace("\\", "/"))
    )


def _decoded(address: str) -> str:
    """The address as text: `file:` ones as the path, others as they are, slashes forward."""
    path = unquote(address, errors="replace").replace("\\", "/")
    if path[:5].lower() == "file:":
        path = path[5:]
        if path.startswith("//") and not path.startswith("///"):
            host, _, rest = path[2:].partition("/")
            path = f"/{rest}" if host in {"", "localhost"} else f"/{host}/{rest}"
        path = "/" + path.lstrip("/")
    return path[1:] if path.startswith("/") and _DRIVE.match(path[1:]) else path


def _contained(path: str) -> str:
    """The path without what leads elsewhere. An address of another scheme keeps its scheme."""
    scheme = _SCHEME.match(path)
    if scheme and not _DOTS.search(path):
        return path
    start = scheme.end() if scheme else 0
    slashes = "//" if scheme and path.startswith("//", start) else ""
    segments: list[str] = []
    for segment in path[start:].split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return path[:start] + slashes + "/".join(segments)


def _leads_out(path: str) -> bool:
    depth = 0
    for segment in path.split("/"):
        depth += -1 if segment == ".." else segment not in {"", "."}
        if depth < 0:
            return True
    return False
