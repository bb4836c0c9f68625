"""The real trivy, through the scanner: what it finds, and what a repository cannot hide."""

import json
import re
import shutil
from pathlib import Path

import anyio
import pytest
from agent_context import agent_context, real_scans

from rediver_agent import ScanReport
from rediver_agent.contract import Finding
from rediver_agent.testing import parse
from rediver_trivy import Trivy
from rediver_trivy._parse import TrivyParser

pytestmark = pytest.mark.tools

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
GITHUB = "ghp_" + "uHW06o5qD4ycwRUyILWd5I6X0o4zL4nt3pj7"  # in two parts: no scanner's business
BUCKET = 'resource "aws_s3_bucket" "{}" {{\n  bucket = "b"\n}}\n'


@pytest.fixture
def target(tmp_path):
    """A folder with a token in `a.env` and a bucket in `infra/main.tf`."""
    directory = tmp_path / "app"
    write(directory / "a.env", f"TOKEN={GITHUB}\n")
    write(directory / "infra" / "main.tf", BUCKET.format("one"))
    return directory


@pytest.fixture
def run(tmp_path, target):
    return real_scans(Trivy(), target, tmp_path / "base")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def findings(report: ScanReport) -> list[Finding]:
    events = parse(TrivyParser(), report.path.read_bytes())
    return [event for event in events if isinstance(event, Finding)]


def rules(report: ScanReport) -> set[tuple[str | None, str | None]]:
    return {(f.location.path, f.rule_id) for f in findings(report) if f.location}


def paths(report: ScanReport) -> set[str | None]:
    return {path for path, _ in rules(report)}


def test_it_finds_what_is_known_to_be_in_the_vulnerable_app(run, target):
    if not FIXTURES.is_dir():
        pytest.skip(f"{FIXTURES} is not there")
    shutil.rmtree(target)
    shutil.copytree(FIXTURES / "vulnerable-app", target)
    expected = json.loads((FIXTURES / "vulnerable-app-expected.json").read_text())["trivy"]

    report = run()

    found = {
        (f.rule_id, f.location.path, f.location.start_line, f.severity.upper())
        for f in findings(report)
        if f.location
    }
    assert {tuple(known) for known in expected["secrets"]["findings"]} <= found
    assert {tuple(known) for known in expected["misconfigurations"]["findings"]} <= {
        (rule, path, severity) for rule, path, _, severity in found
    }
    assert report.notices == ()


def test_a_repository_cannot_hide_from_its_scan_by_files(run, target):
    """Nor does what is excluded come back by them."""
    write(target / ".trivyignore", "github-pat\nAWS-0086\n")
    write(target / ".trivyignore.yaml", "secrets:\n  - id: github-pat\n")
    write(target / "trivy.yaml", "scan:\n  skip-dirs:\n    - infra\nseverity:\n  - CRITICAL\n")
    write(target / "trivy-secret.yaml", "disable-rules:\n  - github-pat\n")
    write(target / "vendor" / "b.env", f"TOKEN={GITHUB}\n")
    write(target / "lib" / "vendor" / "main.tf", BUCKET.format("two"))
    write(target / "lib" / "c.gen.env", f"TOKEN={GITHUB}\n")
    write(target / "lib" / "main.tf", BUCKET.format("three"))

    report = run(exclude=["**/vendor/**", "lib/main.tf", "*.gen.env"])

    assert paths(report) == {"a.env", "infra/main.tf"}
    assert {("a.env", "github-pat"), ("infra/main.tf", "AWS-0086")} <= rules(report)
    assert report.notices == ()


def test_what_was_hidden_or_not_understood_or_not_fetched_is_told(run, target):
    module = 'module "m{}" {{\n  source = "{}"\n}}\n'
    sources = ("git::file:///etc", "terraform/x/aws")
    write(target / "main.tf", "".join(module.format(*pair) for pair in enumerate(sources)))
    write(target / "infra" / "main.tf", "#trivy:ignore:AWS-0086\n" + BUCKET.format("one"))
    write(target / "bad" / "broken.tf", 'resource "x" {\n password = "hunter2\n')
    write(target / "Dockerfile", "FRMO x\n")

    report = run()

    assert ("infra/main.tf", "AWS-0086") not in rules(report)
    told = {(notice.level, notice.path) for notice in report.notices}
    assert told >= {
        ("warning", "infra/main.tf"),
        ("warning", "bad/broken.tf"),
        ("warning", "Dockerfile"),
    }
    fetched = [notice for notice in report.notices if "load module" in notice.message]
    assert fetched
    assert {notice.level for notice in fetched} == {"info"}
    assert "hunter2" not in repr(report.notices)


def test_what_an_ignore_file_hides_is_kept_as_suppressed_when_the_options_obey_it(run, target):
    write(target / ".trivyignore", "github-pat\nAWS-0086\n")

    report = run(honour_repository_config=True)

    assert {f.rule_id for f in findings(report) if f.suppression} == {"github-pat", "AWS-0086"}


def test_an_empty_target_is_clean(run, target):
    shutil.rmtree(target)
    target.mkdir()

    report = run()

    assert (findings(report), report.notices) == ([], ())


def test_the_version_is_known(tmp_path, target):
    scanner = Trivy()

    with agent_context(scanner, target, tmp_path / "base") as context:
        version = anyio.run(scanner.probe, context)

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
