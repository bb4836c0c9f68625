"""trivy's vulnerability database: whether it is there, and how old it is."""

import json
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from rediver_agent import ToolError


def require_database(cache_dir: Path) -> None:
    """`ToolError` where there is none: without it there are no vulnerabilities to find."""
    if not (cache_dir / "db" / "trivy.db").is_file():
        raise ToolError(
            f"trivy has no vulnerability database in {cache_dir}: fetch it with `trivy fs "
            f"--download-db-only --cache-dir {cache_dir}`, set offline: false, or leave `vuln` out "
            "of scanners"
        )


def database_properties(cache_dir: Path) -> dict[str, JsonValue]:
    """`database_updated_at`, as the database says it itself."""
    try:
        metadata: Any = json.loads((cache_dir / "db" / "metadata.json").read_bytes())
        return {"database_updated_at": str(metadata["UpdatedAt"])}
    except (OSError, ValueError, LookupError, TypeError):
        return {"database_updated_at": None}
