"""What a server may change of an agent's settings: allowed, proved, put back, and after a crash."""

import json
import os
import stat
from pathlib import Path

import anyio
import pytest
import yaml

from rediver_agent.configuration import Configuration
from rediver_agent.contract import parse_command
from rediver_agent.errors import InvalidPayload
from rediver_agent.executor import Job
from rediver_agent.handlers.config_update import ConfigUpdateHandler
from rediver_agent.overlay import Overlay, reset

ALLOWED = ["agent.max_concurrent", "agent.scan_interval", "scanners", "retry_queue.max_age"]


class Host:
    """An agent's configuration file and state directory."""

    def __init__(self, directory):
        self.directory = directory
        self.config = directory / "agent.yaml"
        self.file = directory / "overlay.json"
        self.write()

    def write(self, **settings):
        document = {
            "security": {"remote_config": ALLOWED}, "state_dir": str(self.directory), **settings,
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(document))

    def open(self):
        return Overlay.open(self.config)

    def update(self, overlay, **data):
        """Begin and keep."""
        update = overlay.begin("cmd_1", data)
        overlay.keep()
        return update


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def changes(update):
    return {change["name"]: (change["old"], change["new"]) for change in update.changed}


def test_what_is_allowed_changes_and_outlives_a_restart(host):
    overlay = host.open()
    update = host.update(overlay, agent={"max_concurrent": 5}, retry_queue={"max_age": "3d"})

    assert changes(update) == {"agent.max_concurrent": (2, 5), "retry_queue.max_age": ("7d", "3d")}
    assert overlay.settings.agent.max_concurrent == 5
    assert host.open().settings == overlay.settings
    assert host.open().version == 1
    assert stat.S_IMODE(host.file.stat().st_mode) == 0o600


def test_null_takes_a_setting_back_to_the_operators(host):
    host.write(agent={"max_concurrent": 3, "scan_interval": "2h"})
    overlay = host.open()
    host.update(overlay, agent={"max_concurrent": 9, "scan_interval": "1h"})

    back = host.update(overlay, agent={"max_concurrent": None})
    assert changes(back) == {"agent.max_concurrent": (9, 3)}
    assert changes(host.update(overlay, agent=None)) == {"agent.scan_interval": ("1h", "2h")}
    assert overlay.version == 3


def test_the_same_again_is_no_change_and_is_not_tried(host):
    overlay = host.open()
    host.update(overlay, agent={"max_concurrent": 5})
    again = overlay.begin("cmd_2", {"agent": {"max_concurrent": 5}})

    assert (again.changed, again.version, overlay.on_trial) == ([], 1, False)
    assert overlay.begin("cmd_3", {}).changed == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"agent": {"drain_seconds": 1}}, "agent.drain_seconds.*security.remote_config"),
        ({"agent": {"name": "x"}}, "no server may change agent.name"),
        ({"agent": {"scan_intervall": "1h"}}, "did you mean agent.scan_interval?"),
        ({"server": {"base_url": "https://evil.example"}}, "server.base_url"),
        ({"security": None}, "no server may change security"),
        ({"security": {"remote_config": ["scanners"]}}, "security.remote_config"),
        ({"targets": ["/"]}, "no server may change targets"),
        ({"targets": None}, "no server may change targets"),
        ({"collectors": []}, "no server may change collectors"),
        ({"state_dir": "/tmp"}, "no server may change state_dir"),
        ({"agent": {"max_concurrent": 0}}, "agent.max_concurrent: .* greater than"),
        ({"agent": {"scan_interval": {}}}, "not a duration"),
        ({"agent": {"scan_interval": "soon"}}, "the settings of the server: .*not a duration"),
        ({"agent": 5}, "agent must be a section"),
        ({"scanners": {}}, "scanners"),
        ({"scanners": [5]}, "scanners.0"),
        ({"scanners": [{"name": "a"}, {"name": "a"}]}, "twice"),
        ({"scanners": [{"name": "semgrep", "binary": "/bin/sh"}]}, "the program of 'semgrep'"),
        ({"scanners": [{"name": "trivy", "binary": "/opt/semgrep"}]}, "the program of 'trivy'"),
    ],
)
def test_what_is_not_allowed_or_not_right_changes_nothing_and_is_named(host, data, sentence):
    host.write(scanners=[{"name": "semgrep", "binary": "/opt/semgrep"}])
    overlay = host.open()
    before = overlay.settings
    mixed = {"agent": {"max_concurrent": 5}, "retry_queue": {"max_age": "1d"}}

    with pytest.raises(InvalidPayload, match=sentence):
        overlay.begin("cmd_1", {**mixed, **data})
    assert overlay.settings == before
    assert not host.file.exists()


def test_a_list_of_scanners_leaves_the_programs_to_the_operator(host):
    host.write(scanners=[{"name": "semgrep", "binary": "/opt/semgrep"}])
    overlay = host.open()
    host.update(
        overlay,
        scanners=[{"name": "semgrep", "binary": "/opt/semgrep", "config": {"a": 1}}, {"name": "x"}],
    )
    assert overlay.settings.scanner("semgrep").binary == "/opt/semgrep"
    assert overlay.settings.scanner("semgrep").config == {"a": 1}
    assert overlay.settings.scanner("x").binary is None

    host.write(scanners=[{"name": "semgrep", "binary": "/usr/bin/semgrep"}])  # it has moved since
    assert host.open().settings.scanner("semgrep").binary == "/usr/bin/semgrep"
    assert host.open().settings.scanner("semgrep").config == {"a": 1}


def test_a_secret_is_not_in_what_is_told(host):
    host.write(scanners=[{"name": "x", "config": {"token": "hunter-2-hunter"}}])
    update = host.open().begin(
        "cmd_1", {"scanners": [{"name": "x", "config": {"token": "other-one"}}]}
    )

    assert "hunter-2-hunter" not in json.dumps(update.metadata())
    assert "other-one" not in json.dumps(update.metadata())
    assert "***" in json.dumps(update.metadata())


def test_the_environment_wins_and_the_result_says_so(host, monkeypatch):
    monkeypatch.setenv("REDIVER_AGENT__MAX_CONCURRENT", "7")
    update = host.open().begin("cmd_1", {"agent": {"max_concurrent": 5, "scan_interval": "2h"}})

    assert changes(update) == {"agent.scan_interval": ("1h", "2h")}
    assert update.ignored_by_environment == ["agent.max_concurrent"]


@pytest.mark.parametrize("later", [Path.unlink, lambda file: (file.unlink(), os.mkfifo(file))])
def test_an_update_needs_no_key_file_that_says_its_key_anew(host, later):
    """A key is often handed in by a pipe, and its file is away for a moment when it is rotated."""
    key = host.directory / "key"
    key.write_text("rs_src_abcdefgh")
    host.write(server={"base_url": "http://127.0.0.1:9", "api_key_file": str(key)})
    overlay = host.open()
    later(key)

    assert changes(host.update(overlay, agent={"max_concurrent": 5}))
    assert overlay.settings.server.api_key.get_secret_value() == "rs_src_abcdefgh"


def test_an_agent_that_dies_in_a_trial_comes_back_with_what_was_before(host):
    overlay = host.open()
    host.update(overlay, agent={"max_concurrent": 5})
    overlay.begin("cmd_2", {"agent": {"max_concurrent": 9}})

    after = host.open()
    assert after.settings.agent.max_concurrent == 5
    (sentence,) = after.sentences
    assert "version 2 of the server's settings was" in sentence
    after.recover()
    assert host.open().sentences == ()
    assert host.update(after, agent={"max_concurrent": 6}).version == 3  # no number comes twice


def test_what_the_operator_allows_no_more_is_ignored_and_said(host):
    host.update(host.open(), agent={"max_concurrent": 5, "scan_interval": "2h"})
    host.write(security={"remote_config": ["agent.scan_interval"]})
    overlay = host.open()

    assert overlay.settings.agent.max_concurrent == 2
    assert changes_of(overlay) == {"agent.scan_interval"}
    assert "agent.max_concurrent" in overlay.sentences[0]


def changes_of(overlay):
    return {change["name"] for change in overlay.differences()}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"data": 5}', "\x00", '{"version": 1, "data": {"agent": 5}}',
     '{"version": 1, "data": {"agent": {"max_concurrent": "many"}}}'],
)  # fmt: skip
def test_a_broken_overlay_never_keeps_an_agent_from_starting(host, text):
    host.file.write_text(text)
    overlay = host.open()

    assert overlay.settings.agent.max_concurrent == 2
    assert len(overlay.sentences) == 1
    assert changes(host.update(overlay, agent={"max_concurrent": 5}))


def test_a_reset_takes_everything_back(host):
    running = host.open()
    host.update(running, agent={"max_concurrent": 5})

    assert reset(host.directory)
    assert not reset(host.directory)
    assert host.open().settings.agent.max_concurrent == 2
    host.update(running, agent={"scan_interval": "2h"})  # what runs hears of it with the next one
    assert running.settings.agent.max_concurrent == 2


# -- the handler: an update is proved by a heartbeat, or it is taken back --------------------------


def command(**data):
    return Job(
        parse_command({"id": "cmd_1", "type": "config_update", "payload": {"config_data": data}})
    )


class Running:
    """A running agent as far as updates go: which settings were put in force, in order."""

    def __init__(self, host, *answers):
        self.overlay = host.open()
        self.configuration = Configuration(self.overlay.settings)
        self.seen = []
        self.configuration.on_change(lambda new: self.seen.append(new.agent.max_concurrent))
        self.answers = list(answers)
        self.proving = anyio.Event()
        self.handler = ConfigUpdateHandler(self.overlay, self.configuration, self.prove, 0.2)

    async def prove(self):
        self.proving.set()
        if not self.answers:
            await anyio.sleep_forever()
        return self.answers.pop(0)


def test_an_update_that_a_heartbeat_is_accepted_under_stays(host):
    async def main():
        running = Running(host, True)
        outcome = await running.handler.handle(command(agent={"max_concurrent": 5}))
        return outcome, running

    outcome, running = anyio.run(main)
    assert outcome.status == "completed"
    assert outcome.metadata["changed"] == [{"name": "agent.max_concurrent", "old": 2, "new": 5}]
    assert running.seen == [5]
    assert host.open().settings.agent.max_concurrent == 5


@pytest.mark.parametrize("answers", [[], [False]])
def test_an_update_that_no_heartbeat_is_accepted_under_is_taken_back(host, answers):
    async def main():
        running = Running(host, *answers)
        outcome = await running.handler.handle(command(agent={"max_concurrent": 5}))
        return outcome, running

    outcome, running = anyio.run(main)
    assert outcome.status == "failed"
    assert outcome.metadata["reason"] == "config_rejected"
    assert "heartbeat" in outcome.error
    assert running.seen == [5, 2]
    assert running.configuration.settings.agent.max_concurrent == 2
    assert host.open().settings.agent.max_concurrent == 2
    assert host.open().sentences == ()


def test_an_update_that_is_cancelled_on_trial_is_taken_back(host):
    async def main():
        running = Running(host)
        running.handler.prove_seconds = 60
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.handler.handle, command(agent={"max_concurrent": 5}))
            await running.proving.wait()
            tasks.cancel_scope.cancel()
        return running

    running = anyio.run(main)
    assert running.seen == [5, 2]
    assert host.open().settings.agent.max_concurrent == 2


def test_updates_are_tried_one_at_a_time(host):
    async def main():
        running = Running(host)
        running.handler.prove_seconds = 60
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.handler.handle, command(agent={"max_concurrent": 5}))
            await running.proving.wait()
            tasks.start_soon(running.handler.handle, command(agent={"max_concurrent": 6}))
            await anyio.wait_all_tasks_blocked()
            seen = list(running.seen)
            tasks.cancel_scope.cancel()
        return seen

    assert anyio.run(main) == [5]
