"""The configuration: the origin's three modes, precedence, and one sentence for each mistake."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from rediver_agent.cli.config import show
from rediver_agent.credentials import Credentials, keep
from rediver_agent.durations import format_duration, parse_duration
from rediver_agent.errors import ConfigurationError
from rediver_agent.settings_file import load

STANDALONE = """agent:
  name: standalone-scanner
  scan_interval: 1h
  enable_command_polling: false

targets:
  - /opt/code/project1
  - /opt/code/project2
"""
MANAGED = """agent:
  name: managed-scanner
  enable_command_polling: true
  command_poll_interval: 30s

  # No local targets - all scans are server-initiated
"""
HYBRID = """agent:
  name: hybrid-scanner
  scan_interval: 24h  # Daily local scans
  enable_command_polling: true
  command_poll_interval: 30s

targets:
  - /opt/code/project1

# Server can also dispatch additional scans on-demand
"""
SERVER = "\nserver:\n  base_url: https://rediver.example.com\n  api_key: rs_src_x\n"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("REDIVER_SERVER__API_KEY", "REDIVER_SERVER__API_KEY_FILE", "REDIVER_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "agent.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_three_modes_of_the_origin_document_are_read(file):
    standalone = load(file(STANDALONE))
    managed = load(file(MANAGED + SERVER))
    hybrid = load(file(HYBRID + SERVER))

    assert standalone.agent.scan_interval == timedelta(hours=1)
    assert standalone.allowed_roots() == ["/opt/code/project1", "/opt/code/project2"]
    assert managed.agent.command_poll_interval == timedelta(seconds=30)
    assert managed.allowed_roots() == []
    assert hybrid.agent.scan_interval == timedelta(days=1)


def test_polling_without_a_server_is_refused(file):
    with pytest.raises(ConfigurationError, match=r"needs server\.base_url"):
        load(file(MANAGED))


def test_without_a_file_the_defaults_hold():
    settings = load()

    assert settings.agent.max_concurrent == 2
    assert settings.scanners is None
    assert "restart" not in settings.security.allowed_command_types


def test_the_environment_wins_over_the_file_and_a_flag_over_both(file, monkeypatch):
    path = file("agent:\n  name: of-the-file\n  verbose: true\n")
    monkeypatch.setenv("REDIVER_AGENT__NAME", "of-the-environment")

    assert load(path).agent.name == "of-the-environment"
    assert load(path).agent.verbose is True
    assert load(path, {"agent": {"name": "of-a-flag"}}).agent.name == "of-a-flag"


def test_a_key_can_come_from_a_file_of_its_own(file, tmp_path, monkeypatch):
    (tmp_path / "key").write_text("rs_src_from_a_file\n")
    monkeypatch.setenv("REDIVER_SERVER__API_KEY_FILE", str(tmp_path / "key"))

    assert load().server.api_key.get_secret_value() == "rs_src_from_a_file"
    monkeypatch.setenv("REDIVER_SERVER__API_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="api_key_file"):
        load()


def test_variables_are_expanded_in_values_and_add_no_keys(file, monkeypatch):
    monkeypatch.setenv("NAME", "x\nserver:\n  allow_http: true")
    settings = load(file('agent:\n  name: "a-${NAME}"\n  version: "$HOME and ${}"\n'))

    assert settings.agent.name == "a-x\nserver:\n  allow_http: true"
    assert settings.agent.version == "$HOME and ${}"
    assert settings.server.allow_http is False


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("agent:\n  scan_intervall: 1h\n", "did you mean scan_interval?"),
        ("scanners:\n  - name: semgrep\n    binry: /x\n", "did you mean binary?"),
        ("servers: {}\n", "did you mean server?"),
        ("agent: [\n", "line 2"),
        ("agent:\n\tname: x\n", "line 2"),
        ("- a\n", "sections"),
        ("agent:\n  scan_interval: soon\n", "write it like 30s"),
        ("agent:\n  name: ${NOT_SET_ANYWHERE}\n", "NOT_SET_ANYWHERE"),
        ("server:\n  base_url: http://rediver.example.com\n", "allow_http"),
        ("server:\n  base_url: rediver.example.com\n", "https://rediver.example.com"),
        ("agent:\n  max_concurrent: 0\n", "max_concurrent"),
        ("agent: {name: a}\nserver: {}\nagent: {name: b}\n", "line 3, column 1"),
        ("agent: &a [*a]\n", "holds itself"),
        ("server: hello\n", "server must be a section"),
        ("server: {api_key_file: [1]}\n", "api_key_file"),
        ('server: {api_key: "two\\nlines"}\n', "line ends"),
        ("server: {base_url: 'https://user:word@host'}\n", "write it like"),
        ("server: {base_url: 'https://ho st'}\n", "write it like"),
        ("server: {base_url: 'https://host:99999'}\n", "Port"),
        ("agent: {scan_interval: .inf}\n", "longer than can be counted"),
        ("agent: {heartbeat_interval: 3000000d}\n", "longer than a hundred years"),
        ("retry_queue: {max_age: 3000000d}\n", "longer than a hundred years"),
        ("agent: {drain_seconds: 1000000000000000}\n", "drain_seconds"),
        ("agent: {heartbeat_interval: 0s}\n", "more than 0"),
        ("scanners: [{name: a}, {name: a, enabled: false}]\n", "twice"),
        ("security: {allowed_targets: ['']}\n", "not an absolute path"),
        ("security: {allowed_targets: [code]}\n", "not an absolute path"),
        ("targets: ['~nobody-of-this-name/x']\n", "not an absolute path"),
        ("security: {allowed_command_types: [Scan]}\n", "allowed_command_types"),
        ("state_dir: ''\n", "state_dir"),
        ("!!python/object/apply:os.system ['true']\n", "YAML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(file, text, sentence):
    with pytest.raises(ConfigurationError) as refused:
        load(file(text))

    assert sentence in str(refused.value)
    assert "agent.yaml" in str(refused.value) or "NOT_SET" in str(refused.value)


def test_a_section_with_nothing_in_it_is_its_defaults(file):
    assert load(file("agent:\nserver:\nscanners:\n")).model_dump() == load().model_dump()


def test_a_list_in_the_environment_that_is_no_json_is_explained(monkeypatch):
    monkeypatch.setenv("REDIVER_TARGETS", "/srv/code")

    with pytest.raises(ConfigurationError, match="written as JSON"):
        load()


def test_a_home_directory_in_state_dir_is_a_home_directory(file, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")

    assert str(load(file("state_dir: ~/state\n")).state_dir) == "/home/somebody/state"


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "binary.yaml")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80"])
def test_plain_http_is_allowed_on_this_machine(file, url):
    assert load(file(f'server:\n  base_url: "{url}"\n')).server.base_url == url


def test_a_key_is_not_in_what_is_shown(file):
    settings = load(file(SERVER))

    assert "rs_src_x" not in repr(settings)
    assert "rs_src_x" not in settings.model_dump_json()


@given(st.integers(0, 10**7))
def test_a_duration_is_read_back_as_it_was_written(seconds):
    duration = timedelta(seconds=seconds)

    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "1", "-1s", "1x", "1h 30m", "h", "1h30", "1 s", None, True])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


# -- secrets in files, and enrolled credentials ----------------------------------------------------


def test_a_variable_of_the_file_can_stand_in_a_file_of_its_own(file, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("ghp_of_a_file\n")
    monkeypatch.setenv("GITHUB_TOKEN_FILE", str(tmp_path / "token"))
    path = file("collectors:\n  - {name: github, config: {token: 'Bearer ${GITHUB_TOKEN}'}}\n")

    assert load(path).collector("github").config == {"token": "Bearer ghp_of_a_file"}
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_of_the_environment")
    with pytest.raises(ConfigurationError, match="GITHUB_TOKEN and GITHUB_TOKEN_FILE are both set"):
        load(path)
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.setenv("GITHUB_TOKEN_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match=r"GITHUB_TOKEN_FILE .* cannot be read"):
        load(path)


def test_a_list_with_secrets_can_stand_in_a_file(tmp_path, monkeypatch):
    (tmp_path / "list").write_text('[{"name": "github", "config": {"token": "ghp_x"}}]')
    monkeypatch.setenv("REDIVER_COLLECTORS_FILE", str(tmp_path / "list"))

    assert load().collector("github").config == {"token": "ghp_x"}


def test_a_key_or_its_file_of_the_environment_replaces_the_files_own(file, tmp_path, monkeypatch):
    (tmp_path / "key").write_text("rs_src_of_a_file")
    monkeypatch.setenv("REDIVER_SERVER__API_KEY_FILE", str(tmp_path / "key"))
    assert key_of(load(file("server: {api_key: rs_src_written}\n"))) == "rs_src_of_a_file"

    monkeypatch.delenv("REDIVER_SERVER__API_KEY_FILE")
    monkeypatch.setenv("REDIVER_SERVER__API_KEY", "rs_src_environment")
    settings = load(file(f"server: {{api_key_file: {tmp_path / 'gone'}}}\n"))
    assert key_of(settings) == "rs_src_environment"
    assert settings.server.api_key_file is None

    monkeypatch.setenv("REDIVER_SERVER__API_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ConfigurationError, match=r"the environment sets server\.api_key and"):
        load()


def key_of(settings):
    return settings.server.api_key.get_secret_value() if settings.server.api_key else None


def enroll(state_dir, base_url="https://a.example", key="rs_src_enrolled"):
    return keep(
        state_dir,
        Credentials(
            base_url=base_url, source_id="src_1", api_key=SecretStr(key), name="a",
            enrolled_at=datetime(2026, 1, 1, tzinfo=UTC),
        ),
    )  # fmt: skip


def test_enrolled_credentials_are_used_where_no_server_is_configured(file, tmp_path):
    kept = enroll(tmp_path / "state")
    settings = load(file(f"agent: {{enable_command_polling: true}}\nstate_dir: {tmp_path}/state\n"))

    assert (settings.server.base_url, settings.server.source_id) == ("https://a.example", "src_1")
    assert key_of(settings) == "rs_src_enrolled"
    assert settings.server.api_key_file == kept
    assert "rs_src_enrolled" not in repr(settings)


@pytest.mark.parametrize(
    ("server", "key"),
    [
        ("base_url: https://b.example", None),
        ("base_url: https://a.example.evil", None),
        ("source_id: src_2", None),
        ("api_key: rs_src_own", "rs_src_own"),
        ("base_url: https://b.example, api_key: rs_src_own", "rs_src_own"),
        ("base_url: https://a.example/", "rs_src_enrolled"),
    ],
)
def test_an_enrolled_key_goes_to_no_server_but_its_own(file, tmp_path, server, key):
    enroll(tmp_path)
    settings = load(file(f"server: {{{server}}}\nstate_dir: {tmp_path}\n"))

    assert key_of(settings) == key
    assert key == "rs_src_enrolled" or settings.server.api_key_file is None


def test_broken_credentials_are_named_and_not_shown(file, tmp_path):
    (tmp_path / "credentials.json").write_text('{"api_key": "rs_src_half')
    with pytest.raises(ConfigurationError, match="enroll again with --force") as refused:
        load(file(f"state_dir: {tmp_path}\n"))

    assert "rs_src_half" not in str(refused.value)


def test_secrets_of_collectors_are_known_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setenv("HUB", "hub-t0ken-123")
    config = tmp_path / "agent.yaml"
    config.write_text(
        "collectors:\n  - name: hub\n    config:\n"
        "      url: https://oauth2:${HUB}@hub.example.com\n"
        "      headers: {Authorization: 'Bearer ${HUB}-2'}\n"
        "      accounts: [{private_key: '${HUB}-3', pat: '${HUB}-4', path: /a/b/c/d}]\n"
    )
    assert set(load(config).secrets()) == {
        "hub-t0ken-123", "Bearer hub-t0ken-123-2", "hub-t0ken-123-2", "hub-t0ken-123-3",
        "hub-t0ken-123-4",
    }  # fmt: skip
    shown = CliRunner().invoke(show, ["--config", str(config)])
    assert shown.exit_code == 0
    assert "https://oauth2:***@hub.example.com" in shown.output
    assert "t0ken" not in shown.output


def test_a_date_needs_no_quotes(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text("scanners: [{name: gitleaks, config: {since: 2026-01-31}}]\n")

    (section,) = load(path).scanners

    assert section.config == {"since": "2026-01-31"}
