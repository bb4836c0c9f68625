"""Lays down the small app that is unsafe on purpose. It is never run.

Its secrets are made here, from a fixed seed, and not kept in the repository: they look real, since
scanners must find them, and none was ever valid.
"""

import base64
import random
import shutil
import string
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

_SEED: Final = 20260101
_KEY_LINES: Final = 12


def write_vulnerable_app(directory: Path) -> Path:
    """Write the app into a directory that does not exist yet. Returns the directory."""
    with as_file(files("rediver_agent.demo") / "app") as app:
        shutil.copytree(app, directory)
    secrets = random.Random(_SEED)  # noqa: S311 - these secrets guard nothing
    config = directory / "config"
    config.mkdir()
    (config / "settings.env").write_text(_settings(secrets))
    (config / "deploy_key.pem").write_text(_private_key(secrets))
    return directory


def _settings(secrets: random.Random) -> str:
    letters = string.ascii_letters + string.digits
    access_key = "".join(secrets.choices(string.ascii_uppercase + "234567", k=16))
    token = "".join(secrets.choices(letters, k=36))
    api_key = "".join(secrets.choices(letters, k=40))
    return (
        "# Made up by a random generator. None of these was ever valid.\n"
        f"AWS_ACCESS_KEY_ID=AKIA{access_key}\n"
        f"GITHUB_TOKEN=ghp_{token}\n"
        f'PAYMENTS_API_KEY="{api_key}"\n'
    )


def _private_key(secrets: random.Random) -> str:
    kind = "RSA PRIVATE KEY"
    lines = [base64.b64encode(secrets.randbytes(48)).decode() for _ in range(_KEY_LINES)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])
