"""Scans in CI: the example jobs as they stand, what gates, and what a server makes of branches."""

import json
import re
import subprocess  # noqa: TID251 - the program is run as a CI job runs it
from pathlib import Path

import pytest
import yaml
from house import BIN
from stub_scanner import behave

from rediver_agent.cli.baseline import read_baseline
from rediver_agent.errors import ConfigurationError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "ci"
URL = "https://git.example.com/acme/shop"


@pytest.fixture
def run(stub_env, tmp_path):
    """Runs a program in a directory, in the environment of a job."""

    def run(directory, *command, **env):
        return subprocess.run(
            list(map(str, command)), cwd=directory, capture_output=True, text=True, timeout=60,
            env={
                **stub_env, "HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1",
                **{f"GIT_{who}_{what}": f"{what}@example.com"
                   for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
                **env,
            },
        )  # fmt: skip

    return run


@pytest.fixture
def agent(run):
    """Runs `rediver-agent` there."""
    return lambda directory, *arguments, **env: run(
        directory, BIN / "rediver-agent", *arguments, **env
    )


@pytest.fixture
def git(run):
    def git(directory, *arguments):
        done = run(directory, "git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return git


@pytest.fixture
def shop(tmp_path, git):
    """A repository in which the scanner finds two things."""
    git(tmp_path, "init", "-q", "-b", "main", "shop")
    git(tmp_path / "shop", "remote", "add", "origin", f"https://ci:s3cret@{URL[8:]}.git")
    commit(git, tmp_path / "shop", findings=2)
    return tmp_path / "shop"


def commit(git, shop, **how):
    behave(shop, **how)
    git(shop, "add", "--all")
    git(shop, "commit", "-q", "-m", "x")


# -- the examples -------------------------------------------------------------------------------


def steps_of_github(event):
    """The `run` steps of the workflow that an event leads to, but for the installation."""
    workflow = yaml.safe_load((EXAMPLES / "github-workflow.yml").read_text())
    for step in workflow["jobs"]["scan"]["steps"]:
        condition = step.get("if", "")
        wanted = re.fullmatch(r"github\.event_name == '(\w+)'", condition)
        assert wanted or not condition or condition.startswith("always()"), condition
        if re.search("rediver-agent |rm ", step.get("run", "")) and (
            not wanted or wanted[1] == event
        ):
            yield step["run"]


def github(git, shop, event, ref):
    payload = shop.parent / "event.json"
    pull = {"pull_request": {"number": 7, "head": {"sha": "ab" * 20, "ref": "topic"}}}
    repository = {"repository": {"default_branch": "main"}}
    payload.write_text(json.dumps(repository | (pull if event == "pull_request" else {})))
    return {
        "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event, "GITHUB_REF": ref,
        "GITHUB_SHA": git(shop, "rev-parse", "HEAD"), "GITHUB_WORKSPACE": str(shop),
        "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_EVENT_PATH": str(payload), "RUNNER_TEMP": str(shop.parent),
    }  # fmt: skip


@pytest.mark.parametrize(("found", "code"), [(3, 1), (2, 0)])
def test_the_github_workflow_fails_a_pull_request_for_what_it_adds(run, git, shop, found, code):
    git(shop, "switch", "-q", "-c", "topic")
    planted = shop.parent / "planted"
    (shop / "rediver.sarif").symlink_to(planted)
    commit(git, shop, findings=found, of="the topic")
    git(shop, "switch", "-q", "main")
    git(shop, "merge", "-q", "--no-ff", "topic")  # what GitHub checks out for a pull request
    env = github(git, shop, "pull_request", "refs/pull/7/merge")

    _, base, gate, show = [
        run(shop, "bash", "-e", "-o", "pipefail", "-c", step, **env)
        for step in steps_of_github("pull_request")
    ]

    assert (base.returncode, gate.returncode, show.returncode) == (0, code, 0), gate.stderr
    assert f"{found - 2 or 'nothing'} new, 2 known from the baseline" in gate.stderr
    assert f"{found} findings" in show.stdout
    assert not planted.exists(), "what a pull request brings is not written through"
    (document,) = json.loads((shop / "rediver.sarif").read_text())["runs"]
    states = [result["baselineState"] for result in document["results"]]
    assert states == ["unchanged"] * 2 + ["new"] * (found - 2)


def test_the_github_workflow_fails_no_push_for_its_findings(run, git, shop):
    env = github(git, shop, "push", "refs/heads/main")

    done = [run(shop, "bash", "-e", "-c", step, **env) for step in steps_of_github("push")]

    assert [each.returncode for each in done] == [0, 0, 0]
    assert "2 findings: 2 high" in done[2].stdout


@pytest.mark.parametrize("request_of", [True, False])
def test_the_gitlab_job_fails_a_merge_request_for_what_it_adds(run, git, shop, request_of):
    before = git(shop, "rev-parse", "HEAD")
    commit(git, shop, findings=3)
    git(shop, "checkout", "-q", "--detach")
    env = {
        "CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": str(shop), "CI_PROJECT_URL": URL,
        "CI_COMMIT_SHA": git(shop, "rev-parse", "HEAD"), "CI_COMMIT_REF_NAME": "topic",
        "CI_DEFAULT_BRANCH": "main",
    }  # fmt: skip
    if request_of:
        env |= {
            "CI_MERGE_REQUEST_IID": "9", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": before,
        }  # fmt: skip
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["rediver"]

    script = "\n".join([job["before_script"][0], *job["script"]])

    run(shop, "bash", "-e", "-o", "pipefail", "-c", script, **env)  # a runner keeps its directories
    scan = run(shop, "bash", "-e", "-o", "pipefail", "-c", script, **env)
    show = run(shop, "bash", "-e", "-c", "\n".join(job["after_script"]), **env)

    assert scan.returncode == request_of, scan.stderr
    assert "3 findings" in show.stdout
    (kept,) = job["artifacts"]["paths"]
    (report,) = json.loads((shop / kept).read_text())["reports"]
    assert report["metadata"]["branch"] == {
        "name": "topic",
        "is_default_branch": False,
        "commit_sha": env["CI_COMMIT_SHA"],
        "repository_url": URL,
        **({"pull_request_number": 9} if request_of else {}),
    }
    states = [finding.get("properties", {}).get("baseline_state") for finding in report["findings"]]
    assert states == (["unchanged", "unchanged", "new"] if request_of else [None] * 3)


# -- the gate -----------------------------------------------------------------------------------


def test_only_what_is_new_against_a_baseline_gates(agent, tmp_path):
    behave(tmp_path / "app", findings=3)
    for name in ("json", "sarif"):
        written = "--format", name, "--output", name
        agent(tmp_path, "scan", "app", "--scanner", "stub", *written)
    gate = "scan", "app", "--scanner", "stub", "--fail-on", "high", "--baseline"

    same = agent(tmp_path, *gate, "json")
    behave(tmp_path / "app", findings=4)
    more = agent(tmp_path, *gate, "sarif")
    behave(tmp_path / "app", findings=4, notices=[["error", "half of it"]])
    partial = agent(tmp_path, *gate, "json")

    assert (same.returncode, more.returncode, partial.returncode) == (0, 1, 2), more.stderr
    assert "nothing new, 3 known from the baseline" in same.stdout
    assert "1 new, 3 known from the baseline" in more.stdout
    first = more.stdout.splitlines()[1].split()
    assert (first[0], first[4]) == ("new", "a.txt:4"), "what is new comes first"
    assert "INCOMPLETE" in partial.stdout


def sarif(**run):
    driver = {"tool": {"driver": {"name": "stub"}}, "results": [{"message": {"text": "x"}}]}
    return json.dumps({"version": "2.1.0", "runs": [driver | run]})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "no such file"),
        ("", "empty"),
        ("{", "cut off"),
        ("[]", "no report is in it"),
        ('{"reports": []}', "every scan of it failed"),
        ('{"reports": [{"findings": []}]}', "names no tool"),
        ('{"reports": [{"tool": {"name": "t"}, "findings": [{}]}]}', "no fingerprints"),
        (
            '{"reports": [{"tool": {"name": "t"}, "findings": [{"fingerprint": "rv0:1"}]}]}',
            "of another version",
        ),
        (sarif(), "no fingerprints"),
        (sarif(results=[]), "no fingerprints"),
    ],
)
def test_a_baseline_that_is_no_report_of_ours_is_an_error(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "before").write_text(content)

    with pytest.raises(ConfigurationError) as refused:
        read_baseline(tmp_path / "before")

    assert sentence in str(refused.value)


def test_a_baseline_that_is_not_there_is_exit_2_before_anything_runs(agent, tmp_path):
    log = behave(tmp_path / "app", findings=1)

    done = agent(tmp_path, "scan", "app", "--scanner", "stub", "--baseline", "before")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rediver-agent: the baseline before cannot be used: no such file")
    assert not log.exists()


def test_a_finding_counts_as_often_as_it_is_there_and_for_its_own_tool(agent, tmp_path):
    def report(tool, times):
        finding = {"type": "secret", "title": "t", "severity": "high", "rule_id": "r"}
        return {
            "version": "1.0", "tool": {"name": tool}, "findings": [finding] * times,
            "metadata": {"id": tool, "timestamp": "2026-01-01T00:00:00Z"},
        }  # fmt: skip

    for name, reports in (
        ("before", [report("a", 2), report("c", 0)]),
        ("now", [report("a", 3), report("b", 1)]),
    ):
        (tmp_path / name).write_text(json.dumps({"reports": reports}))
    agent(tmp_path, "import", "before", "--format", "json", "--output", "known")

    done = agent(tmp_path, "import", "now", "--baseline", "known", "--fail-on", "high")

    assert done.returncode == 1
    assert "2 new, 2 known from the baseline" in done.stdout
    assert done.stderr == (
        "the baseline has no report of b: all that it found is new\n"
        "the baseline has a report of c, and here is none\n"
    )


def suppress(directory, *entries):
    (directory / ".rediver.yaml").write_text(yaml.safe_dump({"suppressions": list(entries)}))


END = {"reason": "on purpose", "expires": "2999-01-01"}


def test_a_suppressed_finding_is_kept_and_neither_counts_nor_gates(agent, tmp_path):
    behave(tmp_path / "app", findings=3)
    scan = "scan", "app", "--scanner", "stub", "--fail-on", "high"
    (report,) = json.loads(agent(tmp_path, *scan, "--format", "json").stdout)["reports"]
    one = report["findings"][0]["fingerprint"]
    suppress(
        tmp_path / "app",
        {"fingerprint": one, **END},
        {"rule": "gone", **END},
        {"rule": "stub", "reason": "r", "expires": "2020-01-01"},
    )

    table = agent(tmp_path, *scan)
    document = agent(tmp_path, *scan, "--format", "json")
    suppress(tmp_path / "app", {"path": "*.txt", **END})
    clean = agent(tmp_path, *scan, "--format", "sarif", "--output", "known")
    (tmp_path / "app" / ".rediver.yaml").unlink()
    over = agent(tmp_path, *scan, "--baseline", "known")

    assert table.returncode == 1
    assert "2 findings: 2 high" in table.stdout
    assert "1 suppressed by .rediver.yaml\n" in table.stdout
    said = [line for line in table.stdout.splitlines() if "line" in line]
    assert [line.partition("(")[2] for line in said] == [
        "rule stub) expired on 2020-01-01 and suppresses nothing",
        "rule gone) met no finding",
    ]
    assert document.stderr.splitlines() == [line.strip() for line in said]
    (again,) = json.loads(document.stdout)["reports"]
    assert again["findings"][0]["suppression"]["justification"] == "on purpose"
    assert again["metadata"]["coverage_key"] == report["metadata"]["coverage_key"]
    assert clean.returncode == 0
    assert over.returncode == 1, "what was suppressed in the baseline is not known"


def test_suppressions_that_are_not_understood_fail_the_scan_before_anything_runs(agent, tmp_path):
    log = behave(tmp_path / "app", findings=1)
    suppress(tmp_path / "app", {"path": "**", **END})

    done = agent(tmp_path, "scan", "app", "--scanner", "stub")

    assert (done.returncode, done.stdout) == (2, "")
    assert ".rediver.yaml line 2: this would suppress everything" in done.stderr
    assert not log.exists()


# -- with a server ------------------------------------------------------------------------------


def test_in_ci_the_repository_is_the_asset_and_only_its_default_branch_resolves(
    agent, git, house, shop, tmp_path, stub_env
):
    """What a server has scanned is the directory, whatever its `.git` says that it is."""
    suppress(shop, {"path": "a.txt", **END})
    push = "scan", "--scanner", "stub", "--push", "--config", house.agent_config()
    ci = {
        "GITLAB_CI": "true", "CI_PROJECT_DIR": str(shop), "CI_PROJECT_URL": URL,
        "CI_COMMIT_SHA": git(shop, "rev-parse", "HEAD"),
        "CI_COMMIT_REF_NAME": "main", "CI_DEFAULT_BRANCH": "main",
    }  # fmt: skip

    def pushed(**env):
        done = agent(shop, *push, **env)
        assert done.returncode == 0, done.stderr
        return sorted(finding["status"] for finding in house.findings())

    assert pushed(**ci) == ["open"] * 2, "suppressed findings are delivered, too"
    house.start_agent(shop, env=stub_env)
    outcome = house.outcome(house.scan(shop))
    behave(shop, findings=0)
    assert pushed(**ci, CI_MERGE_REQUEST_IID="9") == ["open"] * 4
    assert pushed(**ci) == ["open", "open", "resolved", "resolved"]

    said = outcome["result"]["metadata"]
    assert (outcome["result"]["findings_count"], said["suppressions_ignored"]) == (2, 1)
    assert (said["branch"], said["commit"]) == ("main", git(shop, "rev-parse", "HEAD"))
    assets = {
        asset["type"]: asset["value"] for asset in house.call("GET", "/api/v1/assets")[1]["assets"]
    }
    assert assets == {"repository": URL, "directory": f"file://test-agent{shop}"}
    assert "s3cret" not in json.dumps(house.findings()) + house.logs()
