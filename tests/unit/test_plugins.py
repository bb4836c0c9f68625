"""Plugins are found by entry point, one at a time; a broken one is named and stops nobody."""

import sys

import pytest
import stub_scanner

from rediver_agent.errors import ReportUnreadable, UnknownScanner
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a plugin whose module has the given text."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, text):
        (tmp_path / f"rediver_{name}.py").write_text(text)
        info = tmp_path / f"rediver_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: rediver-{name}\nVersion: 1.0\n"
        )
        entry = f"[rediver_agent]\n{name} = rediver_{name}\n"
        (info / "entry_points.txt").write_text(entry)

    yield install
    for name in [module for module in sys.modules if module.startswith("rediver_zz")]:
        del sys.modules[name]


SCANNER = """
from pydantic import BaseModel
from rediver_agent import Scanner, hookimpl

class Options(BaseModel, extra="forbid"):
    pass

class Theirs(Scanner[Options]):
    name = "{name}"
    program = "true"
    options = Options
    async def scan(self, ctx, options):
        return ctx.parse(ctx.work_dir / "report", "sarif")

@hookimpl
def rediver_scanners():
    yield Theirs()
"""


HOOK = "from rediver_agent import hookimpl\n@hookimpl\ndef {name}():\n    {body}\n"


def problems(registry):
    return {broken.origin.name: broken.problem for broken in registry.broken}


def test_the_built_in_plugins_come_by_the_same_door_as_everyone():
    registry = build_registry(load_plugins())

    assert {"semgrep", "trivy", "gitleaks"} <= set(registry.scanners)
    assert {"sarif", "json"} <= set(registry.parsers)
    assert registry.origins["scanner:semgrep"].distribution == "rediver-semgrep"


def test_a_third_partys_scanner_is_found(installed):
    installed("zz_theirs", SCANNER.format(name="theirs"))

    registry = build_registry(load_plugins())

    assert registry.scanner("theirs").program == "true"
    assert registry.origins["scanner:theirs"].version == "1.0"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("raise RuntimeError('at import')", "at import"),
        ("def broken(:", "SyntaxError"),
        ("import not_there_at_all", "not_there_at_all"),
        (
            HOOK.format(name="rediver_scaners", body="yield 1"),
            "rediver_scaners",
        ),
        (
            HOOK.format(name="rediver_scanners", body="yield 'no'"),
            "must yield instances of Scanner",
        ),
        (
            HOOK.format(name="rediver_parsers", body="raise OSError(5)"),
            "OSError",
        ),
        (SCANNER.format(name="semgrep"), "rediver-semgrep already"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_named_with_its_problem_and_stops_nobody(installed, text, problem):
    installed("zz_broken", text)

    registry = build_registry(load_plugins())

    assert problem in problems(registry)["zz_broken"]
    assert "semgrep" in registry.scanners
    assert registry.origins["scanner:semgrep"].distribution == "rediver-semgrep"


def test_an_unknown_scanner_names_what_is_installed_and_the_nearest():
    registry = build_registry(load_plugins())

    with pytest.raises(UnknownScanner, match=r"did you mean semgrep\?"):
        registry.scanner("semgerp")
    with pytest.raises(UnknownScanner, match="install rediver-zap"):
        registry.scanner("zap")


def test_a_report_that_nobody_knows_is_refused():
    registry = build_registry(load_plugins())

    with pytest.raises(ReportUnreadable, match="--parser"):
        registry.sniff(b"a;b;c\n")
    with pytest.raises(ReportUnreadable, match="sarif"):
        registry.parser("pdf")


def test_a_stub_plugin_of_these_tests_is_a_whole_distribution(tmp_path, monkeypatch):
    stub_scanner.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert build_registry(load_plugins()).parser("stub").sniff(b'{"stub": 2}')
