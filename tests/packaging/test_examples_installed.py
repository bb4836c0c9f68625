"""The packages of docs/examples, from wheels, beside a wheel of rediver-agent: found and run."""

import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from fresh_environment import FreshEnvironment
from house import House, Program

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NAMES = ("rediver-bandit", "rediver-checksum", "rediver-dependency-track")
pytestmark = pytest.mark.xdist_group("examples-installed")


@pytest.fixture(scope="module")
def installed(example_wheels, tmp_path_factory):
    environment = FreshEnvironment(
        tmp_path_factory.mktemp("examples") / "environment", example_wheels
    )
    environment.install("rediver-bandit[bandit]", *NAMES[1:], "pytest")
    return environment


def document(done):
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_each_is_found_with_its_tool(installed):
    listed = document(installed.run("rediver-agent", "plugins", "--json", cwd=installed.directory))[
        "plugins"
    ]

    assert {(each["kind"], each["name"], each["distribution"]) for each in listed} == {
        ("scanner", "bandit", "rediver-bandit"),
        ("collector", "dependency-track", "rediver-dependency-track"),
        ("handler", "checksum", "rediver-checksum"),
        ("parser", "sarif", "rediver-sarif"),
    }
    assert {each["state"] for each in listed} == {"ok"}
    (bandit,) = [each for each in listed if each["name"] == "bandit"]
    assert bandit["usable"]
    assert Path(bandit["tool"]).parent == installed.bin


def test_their_own_tests_pass(installed, tmp_path):
    for name in NAMES:
        shutil.copytree(EXAMPLES / name / "tests", tmp_path / name)
    flags = ("--import-mode=importlib", "-p", "no:cacheprovider", "-W", "error", "-q")

    done = installed.run("python", "-I", "-m", "pytest", *flags, *NAMES, cwd=tmp_path)

    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def scanned(installed, tmp_path_factory):
    """What bandit finds in an application that does what it can to hide."""
    place = tmp_path_factory.mktemp("scanned")
    app = place / "app"
    (app / "src.git").mkdir(parents=True)
    (app / "app.py").write_text(
        "import subprocess\n\n\ndef run(line):\n    subprocess.call(line, shell=True)  # nosec\n"
    )
    (app / "src.git" / "hidden.py").write_text("eval(input())\n")
    (app / "-r, odd.py").write_text('exec(open("x").read())\n')
    (app / "broken.py").write_text("def broken(:\n")
    (app / ".bandit").write_text("[bandit]\nskips = B602,B307,B102\nexclude = app.py\n")
    (app / "pyproject.toml").write_text('[tool.bandit]\nskips = ["B602", "B307", "B102"]\n')
    (place / "outside.py").write_text("import pickle\npickle.loads(b'')\n")
    (app / "link.py").symlink_to(place / "outside.py")
    os.mkfifo(app / "pipe.py")
    return installed.run(
        *("rediver-agent", "scan", "app", "--scanner", "bandit", "--format", "json"), cwd=place
    )


def test_bandit_finds_what_a_repository_would_hide(scanned):
    (report,) = document(scanned)["reports"]

    found = {(each["rule_id"], each["location"]["path"]) for each in report["findings"]}

    assert found == {
        ("B404", "app.py"),
        ("B602", "app.py"),
        ("B307", "src.git/hidden.py"),
        ("B102", "-r, odd.py"),
    }
    assert report["tool"]["name"] == "bandit"


def test_a_file_that_bandit_could_not_read_makes_its_scan_partial(scanned):
    (report,) = document(scanned)["reports"]

    assert report["metadata"]["coverage_type"] == "partial"


def test_a_target_without_python_is_no_clean_one(installed, tmp_path):
    (tmp_path / "app").mkdir()

    done = installed.run("rediver-agent", "scan", "app", "--scanner", "bandit", cwd=tmp_path)

    assert "NOT everything was looked at: there is no Python file" in done.stdout


class Track(BaseHTTPRequestHandler):
    """A server with one project, and one vulnerable component in it."""

    def do_GET(self):
        answers = {
            "/api/v1/project": [{"uuid": "u0", "name": "shop", "version": "1.0"}],
            "/api/v1/finding/project/u0": [
                {
                    "component": {"name": "log4j-core", "version": "2.14.1"},
                    "vulnerability": {"vulnId": "CVE-2021-44228", "severity": "CRITICAL"},
                }
            ],
        }
        known = self.headers["X-Api-Key"] == "t0ken"
        answer = answers[urlsplit(self.path).path]
        self.send_response_only(200 if known else 401)
        self.send_header("X-Total-Count", str(len(answer)))
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def track():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Track)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_a_json_api_knows_is_collected(installed, track, tmp_path):
    config = {"name": "dependency-track", "config": {"url": track, "token": "t0ken"}}
    (tmp_path / "agent.yaml").write_text(
        yaml.safe_dump({"state_dir": str(tmp_path / "state"), "collectors": [config]})
    )

    done = installed.run(
        *("rediver-agent", "collect", "--config", "agent.yaml", "--format", "json"), cwd=tmp_path
    )

    (report,) = document(done)["reports"]
    assert done.returncode == 0
    assert report["assets"][0]["name"] == "shop 1.0"
    assert [each["rule_id"] for each in report["findings"]] == ["CVE-2021-44228"]
    assert report["metadata"]["coverage_type"] == "full"
    assert "t0ken" not in done.stdout + done.stderr


def test_a_server_orders_the_command_type(installed, tmp_path):
    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "app.tar").write_bytes(b"abc")
    (releases / "link.tar").symlink_to("/etc/passwd")
    house = House(tmp_path)
    house.start_server()
    try:
        config = house.agent_config(
            security={
                "allowed_targets": [str(releases)],
                "allowed_command_types": ["scan", "checksum"],
            }
        )
        run = (str(installed.bin / "rediver-agent"), "run", "--config", str(config))
        house.programs.append(Program(tmp_path / "agent.log", *run, env={"PYTHONPATH": ""}))
        here = {"path": str(releases), "files": ["app.tar"]}
        told = house.command("checksum", payload=here)
        linked = house.command("checksum", payload={**here, "files": ["link.tar"]})

        told, linked = house.outcome(told), house.outcome(linked)
    finally:
        house.close()

    assert told["status"] == "completed"
    assert told["result"]["metadata"]["checksums"] == {
        "app.tar": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
    assert linked["result"]["metadata"]["reason"] == "target_not_allowed"
