"""One spelling for the many of a repository's address, without what lets people in.

`git@host:org/shop.git`, `ssh://git@host:22/org/shop` and `https://user:token@host/org/shop/` are
all `https://host/org/shop`. What is no address of a host (a path, a bundle, a remote helper) or
might still hold a password is None.
"""

import re
from typing import Final
from urllib.parse import urlsplit

_SCP_LIKE: Final = re.compile(r"(?:[^/@\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^/:@\s]{2,}):(?!:)/*(.+)")
_WEB: Final = {"http": 80, "https": 443}
_SHELL: Final = frozenset({"ssh", "git+ssh", "ssh+git", "git"})  # their ports are no web ports
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_PATH: Final = re.compile(r"(?!.*//)[\w.~%+!$&'()*,;=/-]+")  # an `@` would be what a token ends in
_MAX_URL: Final = 900  # characters, so that a directory in it fits an asset's name


def normalised_url(written: str) -> str | None:
    """The address as https (or http, where it says so), or None where it is not understood."""
    written = written.strip()
    try:
        if "://" in written:
            return _of_url(written)
        if match := _SCP_LIKE.fullmatch(written):
            return _joined("https", match[1], "", match[2])
    except ValueError:  # a port that is none, brackets that do not match
        pass
    return None


def _of_url(written: str) -> str | None:
    parts = urlsplit(written)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.scheme in _SHELL:
        return _joined("https", host, "", parts.path)
    if parts.scheme not in _WEB:
        return None
    usual = parts.port is None or parts.port == _WEB[parts.scheme]
    return _joined(parts.scheme, host, "" if usual else f":{parts.port}", parts.path)


def _joined(scheme: str, host: str, port: str, path: str) -> str | None:
    path = path.strip("/").removesuffix(".git").rstrip("/")
    if not _HOST.fullmatch(host) or not _PATH.fullmatch(path) or ".." in path.split("/"):
        return None
    url = f"{scheme}://{host.lower()}{port}/{path}"
    return url if len(url) <= _MAX_URL else None
