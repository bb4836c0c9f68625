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
        module = f"rediver_{name}".replace("-", "_")
        (tmp_path / f"{module}.py").write_text(text)
        info = tmp_path / f"rediver_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: rediver-{name}\nVersion: 1.0\n"
        )
        entry = f"[rediver_agent]\n{name} = {module}\n"
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
            "has no hook 'rediver_scaners'; did you mean rediver_scanners?",
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


COMMAND_LINE = """
from rediver_agent import CommandLineScanner, hookimpl

class Theirs(CommandLineScanner):
    name = "zz-theirs"
    {said}
    def arguments(self, options, report):
        return ["--out", report]

@hookimpl
def rediver_scanners():
    {given}
"""


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("", "Theirs.program is missing: it must be text"),
        ("program = 7", "Theirs.program is 7: it must be text"),
        ("program = 'a'; exit_codes = 0", "Theirs.exit_codes is 0: it must be a tuple of whole"),
        ("program = 'a'; exit_codes = '01'", "Theirs.exit_codes is '01': it must be a tuple"),
        ("program = 'a'; partial_exit_codes = [3]", "a dict of whole numbers to texts"),
        ("program = 'a'; environment = {'A': 1}", "a dict of texts to texts"),
        ("program = 'a'; version_arguments = '-V'", "a tuple of texts"),
        ("program = 'a'; report_on_stdout = 'no'", "it must be True or False"),
    ],
)
def test_what_a_class_says_of_itself_is_looked_at_before_its_first_scan(installed, said, problem):
    installed("zz_theirs", COMMAND_LINE.format(said=said, given="yield Theirs()"))

    registry = build_registry(load_plugins())

    assert problem in problems(registry)["zz_theirs"]
    assert "zz-theirs" not in registry.scanners


def test_a_set_of_exit_codes_and_a_list_of_arguments_are_as_good_as_tuples(installed):
    said = (
        "program = 'a'; exit_codes = {0, 1}; version_arguments = ['-V']; from_command = {'rules'}"
    )
    installed("zz_theirs", COMMAND_LINE.format(said=said, given="yield Theirs()"))

    assert build_registry(load_plugins()).scanner("zz-theirs").program == "a"


def test_a_hook_that_yields_nothing_says_what_it_returned(installed):
    installed("zz_theirs", COMMAND_LINE.format(said="program = 'a'", given="return Theirs()"))

    said = problems(build_registry(load_plugins()))["zz_theirs"]

    assert said.startswith("rediver_scanners must yield what it provides, and returned <")


def test_who_asks_for_what_an_unused_plugin_would_provide_is_told_why_it_is_not_used(installed):
    installed("zz-theirs", "rediver_api = 2")

    registry = build_registry(load_plugins())

    why = (
        r"rediver-zz-theirs 1\.0 is installed and not used \(outdated\): it is built for version 2"
    )
    with pytest.raises(UnknownScanner, match=why):
        registry.scanner("zz-theirs")
    with pytest.raises(ReportUnreadable, match=why):
        registry.parser("zz-theirs")
    with pytest.raises(UnknownScanner, match=r"install rediver-zap .*not used: zz-theirs"):
        registry.scanner("zap")


def test_a_version_of_the_surface_that_is_no_number_is_told_so(installed):
    installed("zz_theirs", "rediver_api = '1'")

    assert "must be a whole number: 1" in problems(build_registry(load_plugins()))["zz_theirs"]


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
