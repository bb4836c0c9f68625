"""Plugins that nobody has reviewed: each hurts itself alone, and is told of with the reason."""

import json

import pytest
from third_party import ThirdParty

SCANNER = """
import sys, os
from rediver_agent import CommandLineScanner, hookimpl
{top}
class Theirs(CommandLineScanner):
    name = "theirs"
    program = "sh"
    def arguments(self, options, report):
        {body}
        return ["-c", "echo of the tool; cp report.sarif $0", report]

@hookimpl
def rediver_scanners():
    {hook}
    yield Theirs()
"""
REPORT = {
    "version": "2.1.0",
    "runs": [{
        "tool": {"driver": {"name": "theirs"}},
        "results": [{"ruleId": "R1", "message": {"text": "a finding of theirs"}, "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": 1}}}
        ]}],
    }],
}  # fmt: skip
LOUD = 'print("noise"); os.write(1, b"noise"); os.system("echo noise"); sys.stdout.write("noise")'
UNUSED = "_ = 0"


@pytest.fixture
def theirs(tmp_path):
    return ThirdParty(tmp_path)


def scanner(top=UNUSED, body=UNUSED, hook=UNUSED):
    return SCANNER.format(top=top, body=body, hook=hook)


MODULES = {
    "ok": scanner(),
    "raises": "raise ValueError('not today')",
    "exits": "import sys; sys.exit(0)",
    "misspelt": "from rediver_agent import hookimpl\n@hookimpl\ndef rediver_scaners(): ...",
    "nothing": "rediver_api = 1",
    "same": scanner(),
    "future": scanner(top="rediver_api = 2"),
    "gone": "from rediver_agent import OfAnotherVersion",
    "old": "import warnings\nwarnings.warn('rediver-agent 0.1: x goes in 0.2', DeprecationWarning)",
}
ONLY_IF_IMPORTED = "open('imported', 'w')"
REASONS = {
    "raises": ("broken", "ValueError: not today"),
    "exits": ("broken", "SystemExit: 0"),
    "misspelt": ("broken", "rediver_scaners"),
    "nothing": ("ok", "it provides nothing"),
    "same": ("duplicate", "scanner:theirs is provided by rediver-ok already"),
    "future": ("outdated", "version 2 of the plugin surface, and this agent has 1"),
    "past": ("outdated", "it is for rediver-agent <0.1"),
    "gone": ("outdated", "OfAnotherVersion"),
    "foreign": ("blocked", "rediver-foreign is not in security.allowed_plugins"),
    "trivy": ("blocked", "left out by REDIVER_DISABLE_PLUGINS"),
    "webhook": ("blocked", "left out by REDIVER_DISABLE_PLUGINS"),
}


def test_every_plugin_that_is_not_used_is_listed_with_the_reason(theirs, tmp_path):
    for name, text in MODULES.items():
        theirs.install(name, text)
    theirs.install("past", ONLY_IF_IMPORTED, requires="rediver-agent<0.1")
    theirs.install("foreign", ONLY_IF_IMPORTED, distribution="rediver-foreign")
    others = ["semgrep", "trivy", "gitleaks", "sarif", "json", "github", "webhook", "past"]
    allowed = [f"rediver-{name}" for name in (*MODULES, *others)]
    config = write(theirs, {"security": {"allowed_plugins": allowed}})

    rows = theirs.rows("--config", config, REDIVER_DISABLE_PLUGINS="trivy, Rediver_Webhook")

    assert (rows["theirs"]["state"], rows["theirs"]["problem"]) == ("ok", None)
    assert rows["old"]["deprecated"] == ["rediver-agent 0.1: x goes in 0.2"]
    for name, (state, reason) in REASONS.items():
        assert rows[name]["state"] == state
        assert reason in rows[name]["problem"]
        assert not rows[name]["usable"]
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("place", ["top", "body", "hook"])
def test_what_a_plugin_prints_is_not_in_what_a_command_says(theirs, tmp_path, place):
    theirs.install("loud", scanner(**{place: LOUD}))
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "report.sarif").write_text(json.dumps(REPORT))

    done = theirs.agent("scan", "app", "--scanner", "theirs", "--format", "json")

    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "a finding of theirs" in done.stdout
    assert "noise" not in json.dumps(document)
    assert done.stderr.count("noise") == 4


def test_a_hook_that_hangs_is_left_behind(theirs):
    theirs.install("slow", scanner(hook="__import__('threading').Event().wait()"))
    theirs.install("slower", "import threading; threading.Event().wait()")

    rows = theirs.rows("--config", write(theirs, {"agent": {"plugin_load_seconds": 1}}))

    assert rows["slow"]["problem"] == rows["slower"]["problem"] == "it was not done after 1 s"
    assert rows["gitleaks"]["state"] == "ok"


NONSENSE = {
    "a text": ("'theirs'", "must yield instances of Scanner"),
    "a class": ("Theirs", "must yield instances of Scanner"),
    "nothing": ("None", "must yield instances of Scanner"),
    "no name": ("type('T', (Theirs,), {'name': None})()", "name is None"),
    "options that are none": ("type('T', (Theirs,), {'options': dict})()", "pydantic model"),
    "lenient options": (
        "type('T', (Theirs,), {'options': __import__('pydantic').BaseModel})()", 'extra="forbid"',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("yielded", "sentence"), NONSENSE.values(), ids=NONSENSE)
def test_a_plugin_that_provides_nonsense_is_broken_and_no_other(theirs, yielded, sentence):
    theirs.install("odd", scanner(hook=f"yield {yielded}"))

    rows = theirs.rows()

    assert rows["odd"]["state"] == "broken"
    assert sentence in rows["odd"]["problem"]
    assert "theirs" not in rows
    assert rows["sarif"]["state"] == "ok"


def test_a_parser_that_fails_at_a_look_costs_no_report(theirs, tmp_path):
    theirs.install(
        "rude",
        """
from rediver_agent import Parser, hookimpl
class Rude(Parser):
    format = "rude"
    def sniff(self, head): raise RuntimeError("no")
    def parse(self, stream): yield from ()
class Vague(Rude):
    format = "vague"
    def sniff(self, head): return "perhaps"
@hookimpl
def rediver_parsers(): return [Rude(), Vague()]
""",
    )
    (tmp_path / "report.sarif").write_text(json.dumps(REPORT))

    done = theirs.agent("import", "report.sarif", "--format", "json")

    assert "a finding of theirs" in done.stdout
    assert "rude cannot say what a report is" in done.stderr


def test_what_is_said_of_plugins_and_cannot_be_is_named_before_a_start(theirs):
    config = write(
        theirs,
        {
            "security": {"allowed_command_types": ["scan", "greet", "colect"]},
            "enrichers": [{"name": "owners"}],
            "observers": [{"name": "pager"}],
        },
    )

    done = theirs.agent("config", "check", "--config", config)

    assert done.returncode == 2
    for part in (
        "'greet'",
        "did you mean collect?",
        "enrichers: no plugin",
        "observers: no plugin",
    ):
        assert part in done.stderr


def write(theirs, document):
    file = theirs.home / "agent.yaml"
    file.write_text(json.dumps(document))
    return file
