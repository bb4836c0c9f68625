"""A vulnerability database for the real trivy, written by hand: a few advisories, no network.

trivy keeps it in a bbolt file. One small enough is two meta pages, an empty list of free pages and
one leaf, in which every bucket stands whole ("inline").
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PAGE: Final = 4096
MAGIC: Final = 0xED0CDAED
NPM: Final = "npm::GitHub Security Advisory npm"
ALPINE: Final = "alpine 3.10"

Bucket = Mapping[str, "Bucket | Any"]
"""A key that begins with `/` names a bucket in it; any other has a value, written as JSON."""


def write_database(cache_dir: Path, updated_at: str, advisories: Bucket) -> None:
    """Put a database into trivy's cache, as old as `updated_at` says."""
    directory = cache_dir / "db"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "trivy.db").write_bytes(_bolt(advisories))
    about = {"Version": 2, "NextUpdate": updated_at, "UpdatedAt": updated_at}
    (directory / "metadata.json").write_text(json.dumps({**about, "DownloadedAt": updated_at}))


def advisories(*found: tuple[str, str, str, Mapping[str, Any], Mapping[str, Any]]) -> Bucket:
    """From (source, package, id, advisory, details): what trivy matches and describes them by."""
    root: dict[str, Any] = {"/data-source": {}, "/vulnerability": {}}
    for source, package, number, advisory, details in found:
        root["/data-source"][source] = {
            "ID": "ghsa" if source == NPM else "alpine",
            "Name": source.partition("::")[2] or source,
            "URL": "https://example.com/advisories",
        }
        root["/vulnerability"][number] = details
        packages = root.setdefault(f"/{source}", {})
        packages.setdefault(f"/{package}", {})[number] = advisory
    return root


def _bolt(root: Bucket) -> bytes:
    leaf = _leaf(3, root)
    pages = 3 + -(-len(leaf) // PAGE)
    overflow = pages - 4
    leaf = leaf[:12] + struct.pack("<I", overflow) + leaf[16:]
    free = struct.pack("<QHHI", 2, 0x10, 0, 0)
    whole = [_meta(0, pages), _meta(1, pages), free, leaf.ljust((pages - 3) * PAGE, b"\0")]
    return b"".join(page.ljust(PAGE, b"\0") for page in whole)


def _meta(number: int, pages: int) -> bytes:
    body = struct.pack("<IIIIQQQQQ", MAGIC, 2, PAGE, 0, 3, 0, 2, pages, number)
    checksum = 0xCBF29CE484222325
    for byte in body:
        checksum = (checksum ^ byte) * 0x100000001B3 % (1 << 64)
    return struct.pack("<QHHI", number, 0x04, 0, 0) + body + struct.pack("<Q", checksum)


def _leaf(number: int, bucket: Bucket) -> bytes:
    entries = sorted(
        (key[1:], 1, struct.pack("<QQ", 0, 0) + _leaf(0, value))
        if key.startswith("/")
        else (key, 0, json.dumps(value).encode())
        for key, value in bucket.items()
    )
    elements, data = b"", b""
    for place, (key, kind, value) in enumerate(entries):
        position = (len(entries) - place) * 16 + len(data)
        elements += struct.pack("<IIII", kind, position, len(key), len(value))
        data += key.encode() + value
    return struct.pack("<QHHI", number, 0x02, len(entries), 0) + elements + data
