"""The main job with the real semgrep, trivy and gitleaks, and what happens when one is broken."""

import json
import os
import re
import shutil
import subprocess  # noqa: TID251 - the program is run as a user runs it
from concurrent.futures import ThreadPoolExecutor

import pytest
from house import BIN

from rediver_agent.demo.vulnerable_app import write_vulnerable_app

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]

SEMGREP = {
    ("docker-add-remote", "Dockerfile", 2, "medium"),
    ("js-eval-call", "web/server.js", 10, "high"),
    ("js-exec-concat", "web/server.js", 6, "critical"),
    ("js-innerhtml", "web/page.js", 2, "medium"),
    ("js-innerhtml", "web/page.js", 4, "medium"),
    ("js-weak-random", "web/server.js", 14, "low"),
    ("py-debug-flag", "api/app.py", 42, "medium"),
    ("py-eval-call", "api/app.py", 22, "high"),
    ("py-eval-call", "api/ignored.py", 9, "high"),
    ("py-flask-sql-taint", "api/app.py", 17, "high"),
    ("py-md5", "api/app.py", 38, "info"),
    ("py-shell-true", "api/app.py", 28, "medium"),
    ("py-yaml-unsafe-load", "api/app.py", 33, "high"),
    ("tf-open-ingress", "infra/main.tf", 8, "high"),
    ("todo-security", "api/app.py", 37, "info"),
}
GITLEAKS = {
    ("aws-access-token", "config/settings.env", 2, "high"),
    ("generic-api-key", "config/settings.env", 4, "high"),
    ("github-pat", "config/settings.env", 3, "high"),
    ("private-key", "config/deploy_key.pem", 1, "high"),
}
TRIVY = {
    ("aws-access-key-id", "config/settings.env", 2, "critical"),
    ("github-pat", "config/settings.env", 3, "critical"),
    ("private-key", "config/deploy_key.pem", 2, "high"),
    ("AWS-0107", "infra/main.tf", 12, "high"),
    ("KSV-0017", "deploy/pod.yaml", 8, "high"),
}


@pytest.fixture(scope="session")
def tool_path():
    """The PATH on which the three tools are; without them these tests say what to do."""
    missing = [name for name in ("semgrep", "trivy", "gitleaks") if shutil.which(name) is None]
    assert not missing, f"{missing} not on PATH: run `make setup`, then `make test`"
    return os.environ["PATH"]


@pytest.fixture
def app(tmp_path):
    return write_vulnerable_app(tmp_path / "app")


def agent(*arguments, path, home, cwd=None):
    return subprocess.run(
        [BIN / "rediver-agent", *map(str, arguments)],
        capture_output=True, text=True, timeout=240, cwd=cwd or home,
        env={"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"},
    )  # fmt: skip


def secrets_of(app):
    """Every secret of the app, and every line of its key."""
    values = re.findall(r'=(?:"?)([A-Za-z0-9_]{16,})', (app / "config/settings.env").read_text())
    lines = (app / "config/deploy_key.pem").read_text().splitlines()[1:-1]
    assert len(values) == 3
    assert len(lines) > 5
    return [*values, *lines]


def found_by(report):
    return {
        (item["rule_id"], place["path"], place.get("start_line"), item["severity"])
        for item in report["findings"]
        for place in [item["location"]]
        if "suppression" not in item
    }  # fmt: skip


def test_the_demo_finds_what_is_there_and_no_secret_leaves_the_app(tmp_path, tool_path):
    kept = tmp_path / "kept"

    done = agent("demo", "--keep", kept, path=tool_path, home=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    for rule, path, line, _ in SEMGREP | GITLEAKS | TRIVY:
        assert re.search(rf"{rule} +{re.escape(path)}:{line}\b", done.stdout), (rule, path, line)
    assert "gitleaks: completed, 4 found" in done.stdout
    assert "trivy: completed, 46 found" in done.stdout
    said = [done.stdout, done.stderr]
    written = [
        file.read_bytes().decode("latin-1")
        for file in kept.rglob("*")
        if file.is_file() and not file.is_relative_to(kept / "notes-app")
    ]
    assert any("rediver-server listening" in text for text in written)
    for secret in secrets_of(kept / "notes-app"):
        assert not any(secret in text for text in (*said, *written))


def test_three_local_scans_find_what_is_there(app, tmp_path, tool_path):
    done = agent("scan", app, "--format", "json", path=tool_path, home=tmp_path)

    assert done.returncode == 0, done.stderr
    reports = {report["tool"]["name"]: report for report in json.loads(done.stdout)["reports"]}
    assert found_by(reports["semgrep"]) >= SEMGREP
    assert found_by(reports["gitleaks"]) == GITLEAKS
    assert found_by(reports["trivy"]) >= TRIVY
    assert len(reports["trivy"]["findings"]) == 46
    assert not any(secret in done.stdout for secret in secrets_of(app))
    paths = {item["location"]["path"] for report in reports.values() for item in report["findings"]}
    assert "api/clean.py" not in paths
    assert not any(path.startswith("/") for path in paths)


def test_two_trivy_scans_at_once_share_their_cache(app, tmp_path, tool_path):
    def scan(_):
        flags = ("--scanner", "trivy", "--format", "json")
        return agent("scan", app, *flags, path=tool_path, home=tmp_path)

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(scan, range(2)))

    for done in both:
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["reports"][0]["findings"]) == 46


def test_what_the_source_suppresses_is_kept_and_does_not_count(app, tmp_path, tool_path):
    done = agent(
        "scan", app, "--scanner", "semgrep", "--format", "json", path=tool_path, home=tmp_path
    )

    (report,) = json.loads(done.stdout)["reports"]
    suppressed = [item for item in report["findings"] if "suppression" in item]
    assert [(item["location"]["path"], item["location"]["start_line"]) for item in suppressed] == [
        ("api/ignored.py", 5)
    ]


def wrapper(directory, tool, script):
    """A program of the tool's name before the real one on PATH. `$real` is the real one."""
    real = shutil.which(tool)
    directory.mkdir(exist_ok=True)
    program = directory / tool
    program.write_text(f"#!/bin/bash\nreal={real}\n{script}\n")
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


CRASH_AT_ONCE = "kill -SEGV $$"
CRASH_AFTER_THE_SCAN = '"$real" "$@"; kill -KILL $$'
NO_REPORT = "exit 0"
HALF_A_REPORT = """
"$real" "$@"; code=$?
for file in "${TMPDIR%/*}/work"/*; do truncate -s $(($(stat -c %s "$file") / 2)) "$file"; done
exit $code"""
EMPTY_REPORT = """
"$real" "$@"; code=$?
for file in "${TMPDIR%/*}/work"/*; do truncate -s 0 "$file"; done
exit $code"""
WRONG_EXIT = '"$real" "$@"; exit 9'


@pytest.mark.parametrize("tool", ["semgrep", "trivy", "gitleaks"])
@pytest.mark.parametrize(
    "script",
    [CRASH_AT_ONCE, CRASH_AFTER_THE_SCAN, NO_REPORT, HALF_A_REPORT, EMPTY_REPORT, WRONG_EXIT],
    ids=["crash", "late crash", "no report", "half a report", "empty report", "wrong exit"],
)
def test_a_broken_tool_is_never_a_clean_scan(app, tmp_path, tool_path, tool, script):
    path = wrapper(tmp_path / "broken", tool, script)

    done = agent("scan", app, "--scanner", tool, "--format", "json", path=path, home=tmp_path)

    assert done.returncode == 2, done.stdout
    assert tool in done.stderr
    assert "Traceback" not in done.stderr
    for report in json.loads(done.stdout)["reports"]:
        assert report["metadata"]["coverage_type"] == "partial"


@pytest.mark.parametrize("tool", ["semgrep", "trivy", "gitleaks"])
def test_a_path_without_the_tool_is_never_a_clean_scan(app, tmp_path, tool):
    done = agent("scan", app, "--scanner", tool, path="/usr/bin:/bin", home=tmp_path)

    assert done.returncode == 2
    assert f"{tool} is not on PATH" in done.stderr
    assert "INCOMPLETE" in done.stdout


@pytest.mark.parametrize("tool", ["semgrep", "trivy", "gitleaks"])
def test_a_time_out_is_never_a_clean_scan(app, tmp_path, tool_path, tool):
    path = wrapper(tmp_path / "slow", tool, "sleep 300")

    done = agent("scan", app, "--scanner", tool, "--timeout", "1s", path=path, home=tmp_path)

    assert done.returncode == 2
    assert "was not done after 1 s" in done.stderr


def test_an_empty_directory_is_clean(tmp_path, tool_path):
    (tmp_path / "empty").mkdir()

    done = agent("scan", tmp_path / "empty", path=tool_path, home=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "0 findings" in done.stdout
    assert "INCOMPLETE" not in done.stdout


def test_no_line_of_the_host_leaves_with_a_module_that_lies_outside(tool_path, tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "repo" / "main.tf").write_text('module "x" {\n  source = "../outside"\n}\n')
    (tmp_path / "outside" / "main.tf").write_text(
        'resource "aws_security_group_rule" "open" {\n  type = "ingress"\n'
        '  cidr_blocks = ["0.0.0.0/0", "192.0.2.77/32"]\n  protocol = "tcp"\n}\n'
    )
    done = subprocess.run(
        [BIN / "rediver-agent", "scan", "repo", "--scanner", "trivy", "--format", "json"],
        cwd=tmp_path, env={"PATH": tool_path, "HOME": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip

    assert "../outside/main.tf" in done.stdout
    assert "192.0.2.77" not in done.stdout
