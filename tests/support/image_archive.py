"""A container image in a tar archive, as `docker save` writes it, with no docker here."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_image(file: Path, content: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """An image of one layer with these files."""
    layer = _tar({name: text.encode() for name, text in content.items()})
    about = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"]}]
    parts = {"manifest.json": json.dumps(manifest).encode(), "layer.tar": layer}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_tar({**parts, "config.json": json.dumps(about).encode()}))


def _tar(files: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return written.getvalue()
