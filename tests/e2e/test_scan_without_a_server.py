"""`rediver-agent scan` and `import`: no server, the right exit code, nothing claimed falsely."""

import gzip
import json
import os
import pty
import signal
import subprocess  # noqa: TID251 - the program is run as a user runs it

import pytest
from house import BIN, alive, wait_for
from stub_scanner import behave


@pytest.fixture
def agent(stub_env, tmp_path):
    """Runs `rediver-agent` and returns what it came to."""

    def run(*arguments, **env):
        return subprocess.run(
            [BIN / "rediver-agent", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**stub_env, "HOME": str(tmp_path / "home"), **env},
        )

    return run


def test_a_scan_prints_what_was_found_and_exits_0(agent, tmp_path):
    behave(tmp_path / "app", findings=2)

    done = agent("scan", tmp_path / "app", "--scanner", "stub")

    assert done.returncode == 0, done.stderr
    assert "2 findings: 2 high" in done.stdout
    assert "a.txt:1" in done.stdout
    assert done.stderr == "", "no progress display where there is no terminal"


@pytest.mark.parametrize(("limit", "code"), [("critical", 0), ("high", 1), ("low", 1)])
def test_fail_on_decides_between_exit_0_and_1(agent, tmp_path, limit, code):
    behave(tmp_path / "app", findings=1)

    assert (
        agent("scan", tmp_path / "app", "--scanner", "stub", "--fail-on", limit).returncode == code
    )


def test_json_is_one_document_of_the_contract(agent, tmp_path):
    behave(tmp_path / "app", findings=700)

    done = agent("scan", tmp_path / "app", "--scanner", "stub", "--format", "json")

    (report,) = json.loads(done.stdout)["reports"]
    assert len(report["findings"]) == 700
    assert report["metadata"]["coverage_type"] == "full"
    assert report["assets"][0]["value"].endswith("/app")


def test_a_parser_that_never_ends_is_a_time_out(agent, tmp_path):
    behave(tmp_path / "app", report='{"stub": 1, "hang": true}')

    done = agent("scan", "app", "--scanner", "stub", "--timeout", "1s")

    assert done.returncode == 2
    assert "was not done after 1 s" in done.stderr
    assert "INCOMPLETE" in done.stdout


def test_sarif_can_be_read_back_with_the_same_findings(agent, tmp_path):
    behave(tmp_path / "app", findings=3)
    out = tmp_path / "out.sarif"
    agent("scan", tmp_path / "app", "--scanner", "stub", "--format", "sarif", "--output", out)

    again = agent("import", out, "--format", "json")

    assert again.returncode == 0, again.stderr
    findings = json.loads(again.stdout)["reports"][0]["findings"]
    assert [item["severity"] for item in findings] == ["high"] * 3
    assert [item["location"]["path"] for item in findings] == ["a.txt"] * 3


@pytest.mark.parametrize(
    ("how", "code", "findings"),
    [
        ({"findings": 2, "notices": [["warning", "a.js was not parsed"]]}, 0, 2),
        ({"findings": 2, "notices": [["error", "half of it"]]}, 2, 2),
        ({"exit": 9}, 2, 0),
        ({"report": "{"}, 2, 0),
    ],
)
def test_sarif_says_of_a_scan_what_its_exit_code_says(agent, tmp_path, how, code, findings):
    behave(tmp_path / "app", **how)
    out = tmp_path / "out.sarif"
    scanned = agent("scan", "app", "--scanner", "stub", "--format", "sarif", "--output", out)

    read = agent("import", out, "--format", "json")

    assert (scanned.returncode, read.returncode) == (code, code), read.stderr
    (run,) = json.loads(out.read_text())["runs"]
    assert run["invocations"][0]["executionSuccessful"] is (code == 0)
    (report,) = json.loads(read.stdout)["reports"]
    assert report["tool"]["name"] == "stub"
    assert report["metadata"]["coverage_type"] == "partial"
    assert len(report["findings"]) == findings


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"exit": 9}, "exit code 9"),
        ({"report": ""}, "empty report"),
        ({"report": None}, "no report"),
        ({"report": "{"}, "not JSON"),
        ({"notices": [["error", "half of it"]]}, "half of it"),
    ],
)
def test_a_scan_that_went_wrong_exits_2_and_never_looks_clean(agent, tmp_path, how, sentence):
    behave(tmp_path / "app", findings=0, **how)

    done = agent("scan", tmp_path / "app", "--scanner", "stub")

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "INCOMPLETE" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["scan", "nowhere"], "no such file"),
        (["scan", "app", "--scanner", "stubb"], "did you mean stub?"),
        (["scan", "app", "--config", "nowhere.yaml"], "does not exist"),
        (["scan", "app", "--config", "bad.yaml"], "did you mean"),
        (["scan", "app", "--scanner", "stub", "--output", "/dev/full"], "no space left"),
        (["scan", "app", "--scanner", "stub", "--timeout", "soon"], "write it like"),
        (["scan", "app", "--scanner", "stub", "--push"], "server.base_url"),
        (["import", "nowhere.sarif"], "no such file"),
        (["import", "app/behave.json"], "no installed parser"),
        (["run", "--config", "alone.yaml"], "enable_command_polling"),
        (["config", "check", "--config", "broken.yaml"], "line"),
        (["spool", "drop", "7"], "no parked row"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_2(agent, tmp_path, arguments, sentence):
    behave(tmp_path / "app", findings=1)
    (tmp_path / "bad.yaml").write_text("agnt: {}\n")
    (tmp_path / "broken.yaml").write_text("agent: [\n")
    (tmp_path / "alone.yaml").write_text("agent: {name: a}\n")

    done = agent(*arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (
        tmp_path / "home" / ".local" / "state" / "rediver-agent" / "work"
    ).exists() or not any(
        (tmp_path / "home" / ".local" / "state" / "rediver-agent" / "work").iterdir()
    )


def test_a_configured_scanner_whose_tool_is_missing_fails_its_scan(agent, tmp_path):
    behave(tmp_path / "app", findings=1)
    (tmp_path / "a.yaml").write_text("scanners:\n  - name: stub\n  - name: gitleaks\n")

    done = agent("scan", "app", "--config", "a.yaml")

    assert done.returncode == 2
    assert "gitleaks: gitleaks is not on PATH" in done.stderr
    assert "1 finding" in done.stdout


def test_a_push_without_a_reachable_server_keeps_the_report(agent, tmp_path):
    behave(tmp_path / "app", findings=1)
    env = {"REDIVER_SERVER__BASE_URL": "http://127.0.0.1:9", "REDIVER_SERVER__API_KEY": "rs_src_x"}

    done = agent("scan", "app", "--scanner", "stub", "--push", **env)

    assert done.returncode == 2
    assert "wait in the spool" in done.stderr
    assert "1 finding" in done.stdout
    entries = json.loads(agent("spool", "list", "--json").stdout)["entries"]
    assert [entry["state"] for entry in entries] == ["waiting"]


def test_a_push_with_a_wrong_key_says_so_and_keeps_the_report(agent, house, tmp_path):
    behave(tmp_path / "app", findings=1)
    config = house.agent_config(server={"api_key": "rs_src_wrong"})

    done = agent("scan", "app", "--scanner", "stub", "--push", "--config", config)

    assert done.returncode == 2
    assert "the key is unknown" in done.stderr
    assert "rs_src_wrong" not in done.stderr + done.stdout
    assert json.loads(agent("spool", "list", "--json", "--config", config).stdout)["entries"]


def test_a_pushed_report_is_on_the_server(agent, house, tmp_path):
    behave(tmp_path / "app", findings=2)
    config = house.agent_config(tmp_path / "app", agent={"enable_command_polling": False})

    done = agent("scan", "app", "--scanner", "stub", "--push", "--config", config)

    assert done.returncode == 0, done.stderr
    assert len(house.findings()) == 2
    assert agent("spool", "list", "--config", config).stdout.strip() == "nothing waits"


def test_plugins_tells_what_is_usable_and_why_not(agent):
    rows = json.loads(agent("plugins", "--json").stdout)["plugins"]

    scanners = {row["name"]: row for row in rows if row["kind"] == "scanner"}
    assert scanners["stub"]["usable"] is True
    assert scanners["stub"]["distribution"] == "rediver-stub"
    assert scanners["semgrep"]["usable"] is False
    assert "install" in scanners["semgrep"]["problem"]
    assert {"sarif", "json"} <= {row["name"] for row in rows if row["kind"] == "parser"}


def test_on_a_terminal_there_is_a_progress_display(stub_env, tmp_path):
    behave(tmp_path / "app", findings=1)
    leader, follower = pty.openpty()
    env = {**stub_env, "HOME": str(tmp_path), "TERM": "xterm", "COLUMNS": "120"}
    command = [BIN / "rediver-agent", "scan", "app", "--scanner", "stub"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=follower, cwd=tmp_path, env=env
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # Linux says so when the last follower is closed
            break
    os.close(leader)
    out, _ = process.communicate(timeout=60)

    assert b"stub" in shown
    assert b"0:00:0" in shown
    assert b"1 finding" in out
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_scan_leaves_no_tool_and_no_findings_behind(stub_env, tmp_path, number):
    log = behave(tmp_path / "app", gate=str(tmp_path / "never"))
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [BIN / "rediver-agent", "scan", "app", "--scanner", "stub"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**stub_env, "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    wait_for(lambda: log.exists() and log.read_text(), "the tool runs")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 2, "1 would say that there are findings"
    assert not any((tmp_path / "tmp").iterdir())
    pids = [int(line) for line in log.read_text().split()]
    wait_for(lambda: not any(alive(pid) for pid in pids), "the tool is gone")
    assert "Traceback" not in said


def sarif(*runs):
    return json.dumps({"version": "2.1.0", "runs": list(runs)})


def run_of(tool, *rules):
    results = [
        {"ruleId": rule, "level": "error", "message": {"text": f"{tool} found {rule}"}}
        for rule in rules
    ]
    return {"tool": {"driver": {"name": tool}}, "results": results}


def test_a_file_of_several_tools_is_a_report_of_each(agent, tmp_path):
    (tmp_path / "all.sarif").write_text(sarif(run_of("one", "A", "B"), run_of("two", "A")))

    done = agent("import", "all.sarif", "--format", "json")

    reports = json.loads(done.stdout)["reports"]
    assert {r["tool"]["name"]: len(r["findings"]) for r in reports} == {"one": 2, "two": 1}
    assert len({r["metadata"]["coverage_key"] for r in reports}) == 2


def test_one_unreadable_file_does_not_cost_the_others(agent, tmp_path):
    (tmp_path / "good.sarif").write_text(sarif(run_of("one", "A")))
    (tmp_path / "good.sarif.gz").write_bytes(gzip.compress(sarif(run_of("two", "B")).encode()))
    (tmp_path / "cut.sarif").write_text(sarif(run_of("one", "A"))[:-4])
    (tmp_path / "cut.sarif.gz").write_bytes(gzip.compress(b"x" * 999)[:-4])
    (tmp_path / "noise.gz").write_bytes(gzip.compress(b"")[:10] + b"\xff" * 99)
    names = [f"{name}.sarif{gz}" for name in ("good", "cut") for gz in ("", ".gz")]

    done = agent("import", *names, "noise.gz")

    assert done.returncode == 2
    assert "INCOMPLETE: 3 of 5 failed" in done.stdout
    assert "one found A" in done.stdout
    assert "two found B" in done.stdout
    assert "cut.sarif" in done.stderr
    assert "cut.sarif.gz (unknown): it is no whole gzip file" in done.stderr
    assert "noise.gz (unknown): it is no whole gzip file" in done.stderr


def test_an_imported_json_report_of_another_asset_can_be_sent(agent, house, tmp_path):
    behave(tmp_path / "app", findings=2)
    out = tmp_path / "out.json"
    agent("scan", "app", "--scanner", "stub", "--format", "json", "--output", out)
    text = out.read_text().replace(
        '"type":"vulnerability"', '"type":"vulnerability","asset_ref":"target"'
    )
    out.write_text(text)

    done = agent("import", out, "--push", "--config", house.agent_config())

    assert done.returncode == 0, done.stderr
    assert len(house.findings()) == 2


HOSTILE = "[red]a[/nope] \x1b[31m\x9b2J\u202e"


def test_nothing_that_a_repository_says_steers_the_terminal(agent, tmp_path):
    name = f"{HOSTILE.replace('/', '')}.txt"
    behave(tmp_path / "app", findings=1, notices=[["error", HOSTILE]])
    (tmp_path / "a.sarif").write_text(sarif(run_of(HOSTILE, HOSTILE)))
    (tmp_path / name).write_text("")

    for arguments in (["scan", "app", "--scanner", "stub"], ["import", "a.sarif", name]):
        done = agent(*arguments)

        assert "[red]a[" in done.stdout + done.stderr
        assert "fault of its own" not in done.stderr
        assert not {"\x1b", "\x9b", "\u202e"} & set(done.stdout + done.stderr)


def test_a_path_in_sarif_is_a_uri_and_is_read_back(agent, tmp_path):
    run = run_of("t", "R")
    place = {"physicalLocation": {"artifactLocation": {"uri": "a%20b/c%25.py"}}}
    run["results"][0]["locations"] = [place]
    (tmp_path / "a.sarif").write_text(sarif(run))

    agent("import", "a.sarif", "--format", "sarif", "--output", "b.sarif")
    again = agent("import", "b.sarif", "--format", "json")

    assert '"a%20b/c%25.py"' in (tmp_path / "b.sarif").read_text()
    assert json.loads(again.stdout)["reports"][0]["findings"][0]["location"]["path"] == "a b/c%.py"


@pytest.mark.parametrize("format_name", ["table", "json", "sarif"])
def test_a_reader_that_goes_away_is_exit_2_and_no_traceback(stub_env, tmp_path, format_name):
    (tmp_path / "a.sarif").write_text(sarif(run_of("one", "A")))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [BIN / "rediver-agent", "import", "a.sarif", "--format", format_name],
        cwd=tmp_path, env={**stub_env, "HOME": str(tmp_path)}, stdout=writer,
        stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writer)

    assert done.returncode == 2, "1 would say that there are findings"
    assert done.stderr == "rediver-agent: interrupted: there is no result\n"


def test_a_locale_without_the_letters_costs_no_finding(agent, tmp_path):
    (tmp_path / "a.sarif").write_text(sarif(run_of("one", "ü")))
    env = {"PYTHONIOENCODING": "ascii"}

    table = agent("import", "a.sarif", **env)
    document = agent("import", "a.sarif", "--format", "json", **env)

    assert table.returncode == document.returncode == 0, table.stderr + document.stderr
    assert "1 finding" in table.stdout
    assert json.loads(document.stdout)["reports"][0]["findings"][0]["rule_id"] == "ü"
