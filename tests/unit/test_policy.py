"""What a server may have done here, and what no spelling of a path gets past."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rediver_agent.contract import parse_command
from rediver_agent.errors import CommandExpired, TargetNotAllowed, TypeNotAllowed
from rediver_agent.policy import Policy, open_typed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def scan(**fields):
    payload = {"scanner": "semgrep", "target": "/srv"}
    return parse_command({"id": "cmd_1", "type": "scan", "payload": payload, **fields})


@pytest.fixture
def house(tmp_path):
    """root/ with app/ and app/sub/, a twin whose name begins like the root's, and links out."""
    for name in ("root/app/sub", "root2/app", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "secret.txt").write_text("x")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "app" / "up").symlink_to("..")
    (tmp_path / "root" / "file.txt").write_text("x")
    return tmp_path


def opened(policy, target):
    directory = policy.open_commanded(str(target))
    try:
        return os.fstat(directory.descriptor).st_ino
    finally:
        directory.close()


@pytest.mark.parametrize("target", ["root", "root/app", "root/app/sub", "root/./app", "root//app"])
def test_a_directory_below_an_allowed_root_is_opened(house, target):
    policy = Policy(["scan"], [str(house / "root")])

    wanted = (house / target).stat().st_ino
    assert opened(policy, f"{house}/{target}") == wanted


@pytest.mark.parametrize(
    "target",
    [
        "outside",
        "root2/app",
        "root/../outside",
        "root/app/../../outside",
        "root/link",
        "root/link/",
        "root/app/up",
        "root/app/up/app",
        "root/missing",
        "root/file.txt",
        "",
    ],
)
def test_a_target_outside_the_roots_is_refused_however_it_is_spelled(house, target):
    policy = Policy(["scan"], [str(house / "root")])

    with pytest.raises(TargetNotAllowed):
        policy.open_commanded(f"{house}/{target}")


@pytest.mark.parametrize("target", ["root/app", "./root", "-rf", "", "~", "\0", "/proc/self/cwd"])
def test_a_target_that_is_no_plain_absolute_path_is_refused(house, target, monkeypatch):
    monkeypatch.chdir(house)
    policy = Policy(["scan"], [str(house / "root")])

    with pytest.raises(TargetNotAllowed):
        policy.open_commanded(target)


def test_with_no_roots_every_commanded_target_is_refused(house):
    with pytest.raises(TargetNotAllowed, match="none are configured"):
        Policy(["scan"], []).open_commanded(str(house / "root"))


def test_a_root_that_is_itself_a_link_is_followed_since_the_operator_wrote_it(house):
    policy = Policy(["scan"], [str(house / "root" / "link")])

    assert opened(policy, house / "root" / "link") == (house / "outside").stat().st_ino
    assert opened(policy, house / "outside") == (house / "outside").stat().st_ino


def test_a_link_put_in_place_of_a_checked_directory_changes_nothing(house):
    directory = Policy(["scan"], [str(house / "root")]).open_commanded(f"{house}/root/app")
    checked = os.fstat(directory.descriptor).st_ino
    (house / "root" / "app").rename(house / "root" / "moved")
    (house / "root" / "app").symlink_to(house / "outside")

    assert Path(f"/proc/self/fd/{directory.descriptor}/sub").is_dir()
    assert os.fstat(directory.descriptor).st_ino == checked
    directory.close()


parts = st.lists(st.sampled_from(["root", "app", "sub", "link", "up", "..", ".", "outside", "-x"]))


@given(parts)
def test_whatever_is_opened_lies_below_the_root(tmp_path_factory, names):
    house = tmp_path_factory.mktemp("house")
    (house / "root" / "app" / "sub").mkdir(parents=True)
    (house / "outside").mkdir()
    (house / "root" / "link").symlink_to(house / "outside")
    (house / "root" / "app" / "up").symlink_to(house)
    policy = Policy(["scan"], [str(house / "root")])
    try:
        directory = policy.open_commanded(str(house) + "/" + "/".join(names))
    except TargetNotAllowed:
        return
    real = str(Path(f"/proc/self/fd/{directory.descriptor}").readlink())
    directory.close()
    assert (real + "/").startswith(f"{house}/root/")


def test_only_allowed_types_pass():
    policy = Policy(["scan"], [])
    policy.check_type(scan())

    with pytest.raises(TypeNotAllowed, match="allowed_command_types"):
        policy.check_type(parse_command({"id": "cmd_1", "type": "restart"}))


def test_a_command_expires_by_the_clock_of_the_server():
    command = scan(expires_at="2026-01-01T00:00:00Z")
    Policy([], []).check_age(command, NOW - timedelta(seconds=1))
    Policy([], []).check_age(scan(), NOW)

    with pytest.raises(CommandExpired):
        Policy([], []).check_age(command, NOW)


def test_what_the_operator_typed_is_opened_through_links(house):
    directory = open_typed(str(house / "root" / "link"))

    assert str(directory.path) == str(house / "outside")
    directory.close()


def test_what_the_operator_typed_must_be_a_directory(house):
    with pytest.raises(TargetNotAllowed, match="not a directory"):
        open_typed(str(house / "root" / "file.txt"))
    with pytest.raises(TargetNotAllowed, match="no such file"):
        open_typed(str(house / "nowhere"))


def test_what_no_report_could_name_is_refused(house):
    (house / "root" / os.fsdecode(b"caf\xe9")).mkdir()

    with pytest.raises(TargetNotAllowed, match="its name is not UTF-8"):
        open_typed(str(house / "root" / os.fsdecode(b"caf\xe9")))
