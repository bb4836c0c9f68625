"""Collections, from an operator's command or shell to stored findings, and how they can fail."""

import json
import os
import pty
import signal
import subprocess  # noqa: TID251 - the program is run as a user runs it

import pytest
import stub_collector
from house import BIN, wait_for
from stub_collector import section, steps

SECRET = "hush-hush-hush"


@pytest.fixture(scope="session")
def hub_site(tmp_path_factory):
    """Where the third-party plugin `rediver-stubhub` is installed."""
    site = tmp_path_factory.mktemp("stubhub") / "site"
    stub_collector.install(site)
    return site


@pytest.fixture
def hub_env(hub_site):
    """The environment of an agent that has the collector."""
    return {"PYTHONPATH": str(hub_site), "PATH": f"{BIN}:/usr/bin:/bin"}


@pytest.fixture
def hub(tmp_path):
    """What the collector finds."""
    return tmp_path / "hub.json"


def begun(house):
    """How many collections have begun."""
    log = house.directory / "state" / "cache" / "collectors" / "stubhub" / "begun"
    return len(log.read_text().splitlines()) if log.exists() else 0


def start(house, hub, env, **config):
    """An agent whose own first collection, at its start, has begun and will find nothing."""
    steps(hub)
    house.start_agent(env=env, collectors=[section(hub, **config)])
    wait_for(lambda: begun(house) == 1, f"the agent collects by itself:\n{house.logs()}")


def collection(house, **payload):
    return house.command("collect", payload={"collector": "stubhub", **payload})


def outcome(house, **payload):
    done = house.outcome(collection(house, **payload))
    return done["status"], done["result"]["metadata"].get("reason"), done


def by_asset(house):
    """How many open findings each asset has on the server."""
    _, page = house.call("GET", "/api/v1/assets")
    names = {asset["id"]: asset["name"] for asset in page["assets"]}
    found = [names[item["asset_id"]] for item in house.findings() if item["status"] == "open"]
    return {name: found.count(name) for name in names.values()}


def test_a_commanded_collection_ends_with_each_assets_findings_on_the_server(house, hub, hub_env):
    start(house, hub, hub_env, token=SECRET)
    steps(hub, {"asset": "org/one", "findings": 2}, {"asset": "org/two", "findings": 1})

    status, _, done = outcome(house)

    assert status == "completed", done
    assert done["result"]["findings_count"] == 3
    assert done["result"]["metadata"]["assets"] == 2
    assert by_asset(house) == {"org/one": 2, "org/two": 1}

    # The second asset fails: it keeps what it had, and what is gone of the first is resolved.
    steps(
        hub, {"asset": "org/one", "findings": 1},
        {"asset": "org/two"}, {"raise": f"the hub refuses {SECRET}; renew the token"},
    )  # fmt: skip
    status, reason, done = outcome(house)

    assert (status, reason) == ("failed", "tool_error")
    said = "the hub refuses ***; renew the token (1 of 2 assets were whole)"
    assert done["error_message"] == said
    assert by_asset(house) == {"org/one": 1, "org/two": 1}
    assert SECRET not in house.logs()

    # What an asset's owner has mended is resolved, even if it was everything.
    steps(hub, {"asset": "org/one"}, {"asset": "org/two"})
    assert outcome(house)[0] == "completed"
    assert by_asset(house) == {"org/one": 0, "org/two": 0}


# What the collector does, what the command says: the reason, and a part of the sentence.
WRONG = [
    ([], {}, "report_unreadable", "not even one asset"),
    ([{"asset": "a"}, {"crash": "boom"}], {}, "plugin_error", "RuntimeError: boom"),
    ([{"asset": "a"}, {"notice": ["error", "page 2 is missing"]}], {}, "partial_scan",
     "could not fetch everything: a: page 2 is missing"),
    ([{"asset": "a"}, {"gate": "/nowhere"}], {"timeout_seconds": 1}, "timeout",
     "was not done after 1 s"),
    ([{"asset": "a"}], {"source_config": {"token": "mine"}}, "invalid_payload",
     "may not set stubhub's token (it may set: only)"),
    ([{"asset": "a"}], {"source_config": {"only": "a"}}, "invalid_payload", "option 'only'"),
    ([{"asset": "a"}], {"collector": "githbu"}, "unknown_collector", "rediver-githbu"),
]  # fmt: skip


def test_a_collection_that_went_wrong_is_a_failure_with_its_reason(house, hub, hub_env):
    start(house, hub, hub_env)
    for script, payload, reason, sentence in WRONG:
        steps(hub, *script)

        status, said, done = outcome(house, **payload)

        assert (status, said) == ("failed", reason)
        assert sentence in done["error_message"]
    assert not house.findings()


def test_cancelling_a_collection_ends_it_and_delivers_nothing(house, hub, hub_env):
    start(house, hub, hub_env)
    steps(hub, {"asset": "a", "findings": 1}, {"gate": "/nowhere"})
    command = collection(house)
    wait_for(lambda: begun(house) == 2, "the collection has begun")

    house.call("DELETE", f"/api/v1/commands/{command}")

    assert house.outcome(command)["status"] == "cancelled"
    assert not house.findings()


def test_a_pool_command_finds_the_agent_that_has_the_collector(house, hub, hub_env, tmp_path):
    start(house, hub, hub_env)
    steps(hub, {"asset": "a", "findings": 1}, {"asset": "b", "findings": 1})
    payload = {"collector": "stubhub", "source_config": {"only": ["b"]}}

    done = house.outcome(house.command("collect", source_id=None, payload=payload))

    assert (done["status"], done["source_id"]) == ("completed", None)
    assert by_asset(house) == {"b": 1}
    health = house.outcome(house.command("health_check", payload={}))["result"]["metadata"]
    assert health["collectors"]["stubhub"]["usable"] is True


@pytest.fixture
def agent(hub_env, tmp_path):
    """Runs `rediver-agent` and returns what it came to."""

    def run(*arguments, **env):
        return subprocess.run(
            [BIN / "rediver-agent", *map(str, arguments)],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
            env={**hub_env, "HOME": str(tmp_path / "home"), **env},
        )  # fmt: skip

    return run


def configured(tmp_path, *sections):
    file = tmp_path / "a.yaml"
    file.write_text(json.dumps({"collectors": sections}))
    return file


def test_a_typed_collection_prints_what_was_found(agent, hub, tmp_path):
    config = configured(tmp_path, section(hub, token=SECRET), {"name": "gone"})
    steps(hub, {"asset": "a", "findings": 2, "notice": ["warning", f"no right with {SECRET}"]})

    named = agent("collect", "stubhub", "--config", config)
    gated = agent("collect", "stubhub", "--config", config, "--fail-on", "high")
    every = agent("collect", "--config", config, "--format", "json")

    assert (named.returncode, gated.returncode, every.returncode) == (0, 1, 2), named.stderr
    assert "2 findings: 2 high" in named.stdout
    assert "stubhub a" in named.stdout, "the asset is named"
    assert "NOT everything was looked at: a: no right with ***" in named.stdout
    assert "gone: no plugin provides the collector 'gone'" in every.stderr
    (report,) = json.loads(every.stdout)["reports"]
    assert report["metadata"]["source_type"] == "collector"
    assert len(report["findings"]) == 2


def test_a_typed_collection_that_fails_is_exit_2_and_says_why(agent, hub, tmp_path):
    config = configured(tmp_path, section(hub))
    steps(hub, {"asset": "a", "findings": 1}, {"asset": "b"}, {"crash": "boom"})

    failed = agent("collect", "--config", config)
    unlisted = agent("collect", "stubhub")
    none = agent("collect")
    typo = agent("collect", "stubhubb", "--config", config)

    assert {done.returncode for done in (failed, unlisted, none, typo)} == {2}
    assert "RuntimeError: boom (1 of 2 assets were whole)" in failed.stderr
    assert "INCOMPLETE" in failed.stdout
    assert "its operator can list it there" in unlisted.stderr
    assert "no collector is configured (plugins: github, stubhub, webhook)" in none.stderr
    assert "no plugin provides the collector 'stubhubb'" in typo.stderr


def test_a_pushed_collection_is_on_the_server(agent, house, hub):
    steps(hub, {"asset": "a", "findings": 2})
    polling = {"enable_command_polling": False}
    config = house.agent_config(agent=polling, collectors=[section(hub)])

    done = agent("collect", "--push", "--config", config)

    assert done.returncode == 0, done.stderr
    assert by_asset(house) == {"a": 2}


def test_plugins_tells_of_each_collector_whether_it_can_be_used_and_why_not(agent, hub, tmp_path):
    def rows(*sections):
        config = configured(tmp_path, *sections)
        found = json.loads(agent("plugins", "--json", "--config", config).stdout)["plugins"]
        return {row["name"]: row for row in found if row["kind"] == "collector"}

    both = rows(section(hub), {"name": "gone"})
    assert both["stubhub"]["usable"] is True
    assert "install rediver-gone" in both["gone"]["problem"]
    unlisted, misspelt = rows()["stubhub"], rows(section(hub, sourse=1))["stubhub"]
    assert (unlisted["usable"], unlisted["distribution"]) == (False, "rediver-stubhub")
    assert "not listed" in unlisted["problem"]
    assert "has no option 'sourse' (it has: only, source, token)" in misspelt["problem"]


def test_an_interrupted_collection_shows_its_progress_and_says_that_there_is_no_result(
    hub, hub_env, tmp_path
):
    config = configured(tmp_path, section(hub))
    steps(hub, {"asset": "org/one"}, {"gate": "/nowhere"})
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [BIN / "rediver-agent", "collect", "--config", config],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=follower,
        env={**hub_env, "HOME": str(tmp_path / "home"), "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    try:
        while b"step 1" not in shown:
            shown += os.read(leader, 65536)
        process.send_signal(signal.SIGTERM)
        while True:
            shown += os.read(leader, 65536)
    except OSError:  # Linux says so when the last follower is closed
        os.close(leader)
    process.communicate(timeout=60)

    assert b"50 %" in shown
    assert b"there is no result" in shown
    assert process.returncode == 2, "1 would say that there are findings"
