"""What a server may say of a scan narrows it or looks deeper; the host and silence are not its."""

import pytest

from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry

REGISTRY = build_registry(load_plugins())
OF_THE_HOST = {
    "config", "baseline", "config_check", "secret_config", "ignorefile", "vex", "db_repository",
    "java_db_repository", "offline", "honour_repository_config", "use_git_ignore", "token",
    "base_url", "ca_file", "secrets", "host", "port",
}  # fmt: skip


@pytest.mark.parametrize("name", ["semgrep", "trivy", "gitleaks"])
def test_a_command_sets_what_the_contract_names_and_nothing_of_the_host(name):
    scanner = REGISTRY.scanner(name)

    assert {"exclude", "severity_threshold"} <= scanner.from_command
    assert scanner.from_command - {"rules"} <= scanner.options.model_fields.keys()
    assert not scanner.from_command & OF_THE_HOST


@pytest.mark.parametrize("name", ["github", "webhook"])
def test_a_command_turns_no_token_elsewhere(name):
    collector = REGISTRY.collector(name)

    assert collector.from_command <= collector.options.model_fields.keys()
    assert not collector.from_command & OF_THE_HOST
