"""The real trivy, through the scanner: what it finds, and what a repository cannot hide."""

import io
import json
import re
import shutil
import tarfile
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


def tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def image(file: Path, files: dict[str, str], claimed: str) -> None:
    """An image of one layer, which says that it is the layer `claimed`."""
    system = {"type": "layers", "diff_ids": [claimed]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": system}
    manifest = [{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["layer.tar"]}]
    layer = tar({name: text.encode() for name, text in files.items()})
    written = {"config.json": json.dumps(config), "manifest.json": json.dumps(manifest)}
    file.write_bytes(tar({n: t.encode() for n, t in written.items()} | {"layer.tar": layer}))


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


def test_an_empty_target_is_no_clean_scan(run, target):
    shutil.rmtree(target)
    target.mkdir()

    report = run()

    assert findings(report) == []
    assert [notice.level for notice in report.notices] == ["warning"]


def test_a_comment_that_silences_is_told_however_it_is_written(run, target):
    late, binary = "#trivy:exp:2099-01-01:ignore:AWS-0086\n", "# \0\n#trivy:ignore:AWS-0086\n"
    write(target / "late.tf", late + BUCKET.format("two"))
    write(target / "binary.tf", binary + BUCKET.format("three"))

    report = run()

    assert {("late.tf", "AWS-0086"), ("binary.tf", "AWS-0086")}.isdisjoint(rules(report))
    (told,) = report.notices
    assert "in binary.tf, late.tf" in told.message


def test_a_folder_that_trivy_never_looks_into_is_told(run, target):
    write(target / "dev" / "main.tf", BUCKET.format("two"))
    write(target / "lib" / "dev" / "main.tf", BUCKET.format("three"))

    report = run()

    assert "dev/main.tf" not in paths(report)
    assert "lib/dev/main.tf" in paths(report)
    assert [(notice.level, notice.path) for notice in report.notices] == [("warning", "dev")]
    assert run(exclude=["dev"]).notices == ()


def test_an_image_hides_nothing_by_the_name_of_another_images_layer(run, target):
    """Whoever builds an image writes the digests into it that trivy would know it by."""
    claimed = f"sha256:{'7' * 64}"
    image(target / "empty.tar", {"app/a.txt": "nothing\n"}, claimed)
    image(target / "shop.tar", {"app/a.env": f"TOKEN={GITHUB}\n"}, claimed)

    run(kind="image", input="empty.tar", scanners="secret")
    report = run(kind="image", input="shop.tar", scanners="secret")

    assert rules(report) == {("shop.tar!/app/a.env", "github-pat")}


def test_the_version_is_known(tmp_path, target):
    scanner = Trivy()

    with agent_context(scanner, target, tmp_path / "base") as context:
        version = anyio.run(scanner.probe, context)

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
