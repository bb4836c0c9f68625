"""The documentation is one site: every page is in it, every link leads somewhere, every block runs
or is of a kind that cannot.
"""

import ast
import importlib.util
import re
import shutil
import subprocess  # noqa: TID251 - the site is built as `make site` does it
import sys
import tomllib
from pathlib import Path

import pytest
from house import BIN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / "zensical.toml"
PAGES = sorted(
    page for page in DOCS.rglob("*.md") if "examples" not in page.relative_to(DOCS).parts
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"console", "python", "yaml", "json"}
NOT_RUN = {
    "sh": "needs what a test must not have: root, a package index account, or everything at once",
    "text": "is what something prints",
}
SERIES = re.compile(r"\brediver_[a-z_]+")


def ids(page):
    return page.relative_to(DOCS).as_posix()


def navigated(nav):
    """Every page that the navigation names."""
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else navigated(value)


def test_every_page_is_in_the_navigation_once_and_no_other():
    named = list(navigated(tomllib.loads(SITE.read_text())["project"]["nav"]))

    assert sorted(named) == sorted(ids(page) for page in PAGES)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site. Strict: a page or an anchor that is not there ends the build."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(SITE, project)
    shutil.copytree(DOCS, project / "docs")
    done = subprocess.run(
        [BIN / "zensical", "build", "--strict", "--clean"],
        cwd=project, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "site"


def test_the_site_has_every_page_and_fetches_nothing_from_elsewhere(site):
    for page in PAGES:
        built = site / ids(page).replace("README.md", "index.html")
        html = built.with_suffix(".html").read_text()
        title = page.read_text("utf-8").splitlines()[0].removeprefix("# ")
        assert title.replace("'", "&#39;") in html or title in html
        fetched = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?:[^\"> ]*)", html)
        assert [address for address in fetched if "w3.org" not in address] == []


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_page_has_one_title_and_its_blocks_a_language(page):
    text = page.read_text(encoding="utf-8")
    outside = FENCE.sub("", text)

    assert text.startswith("# ")
    assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1
    assert {language for language, _ in FENCE.findall(text)} <= RUN | set(NOT_RUN)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=ids
)
def test_the_python_of_a_page_runs(page, tmp_path):
    files = []
    for number, (_, body) in enumerate(
        block for block in FENCE.findall(page.read_text("utf-8")) if block[0] == "python"
    ):
        file = tmp_path / f"test_block_{number}.py"
        file.write_text(body)
        tests = any(getattr(node, "name", "").startswith("test_") for node in ast.parse(body).body)
        if tests:
            files.append(file)
        else:
            spec = importlib.util.spec_from_file_location(file.stem, file)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))
    if files:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *files],
            cwd=tmp_path, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout


def test_the_metrics_of_the_server_are_those_of_the_page():
    page = (DOCS / "reference" / "metrics.md").read_text()
    code = (ROOT / "reference_server" / "rediver_server" / "metrics.py").read_text()
    in_code = set(SERIES.findall(code)) - {"rediver_agent", "rediver_server"}
    told = {name.removesuffix("_total") for name in SERIES.findall(page)}

    assert in_code == {name for name in told if not name.startswith("rediver_agent")}
