"""`rediver-agent collect github` as people run it: one process, a file of settings, a report."""

import json
import os
import subprocess  # noqa: TID251 - the program is started as a user would
import sys
from pathlib import Path

import yaml

BIN = Path(sys.executable).parent


def test_the_command_prints_what_github_knows_and_nothing_of_the_token(hub, tmp_path, an_alert):
    hub.alerts(code_scanning=[an_alert(1), an_alert(2)])
    hub.says(
        "/repos/acme/shop/dependabot/alerts",
        (403, {}, {"message": "Dependabot alerts are disabled for this repository."}),
    )
    options = {"base_url": hub.url, "token": "${GITHUB_TOKEN}", "repositories": ["acme/shop"]}
    settings = {
        "collectors": [{"name": "github", "config": options}],
        "state_dir": str(tmp_path / "state"),
    }
    config = tmp_path / "agent.yaml"
    config.write_text(yaml.safe_dump(settings))

    done = subprocess.run(
        [BIN / "rediver-agent", "collect", "github", "--config", config, "--format", "json"],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "GITHUB_TOKEN": "ghp_never_shown"},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    assert report["metadata"]["coverage_type"] == "partial"
    assert report["assets"][0]["value"] == f"{hub.url}/acme/shop"
    assert len({finding["fingerprint"] for finding in report["findings"]}) == 2
    assert {asked.headers["authorization"] for asked in hub.asked} == {"Bearer ghp_never_shown"}
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"ghp_never_shown" not in files
    assert "ghp_never_shown" not in done.stdout + done.stderr
