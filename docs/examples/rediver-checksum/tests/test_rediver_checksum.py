"""What is asked of the program, and what a command is told."""

import pytest
from pydantic import ValidationError

from rediver_agent import CommandError, ToolError
from rediver_agent.testing import FakeHandlerContext, Played, check_handler, handle, provided
from rediver_checksum import Checksum, Options, Payload

RECORDED = {"sha256sum": Played(stdout=f"{'a' * 64}  ./app.tar\0{'b' * 64}  ./b/odd\nname\0")}
HERE = {"path": "/srv/releases", "files": ["app.tar", "b/odd\nname"]}


def test_it_is_found_by_its_entry_point():
    assert [handler.command_type for handler in provided("checksum", "handler")] == ["checksum"]


def test_the_standard_checks(tmp_path):
    target = tmp_path / "target"
    (target / "b").mkdir(parents=True)
    for name in HERE["files"]:
        (target / name).touch()

    check_handler(Checksum(), {**HERE, "path": str(target)}, tmp_path, recorded=RECORDED)


def test_each_file_is_told_by_its_name(tmp_path):
    ctx = FakeHandlerContext(tmp_path, RECORDED, HERE["path"])

    told = handle(Checksum(), ctx, HERE)

    assert ctx.ran == [["sha256sum", "--zero", "--", "./app.tar", "./b/odd\nname"]]
    assert told == {
        "algorithm": "sha256",
        "checksums": {"app.tar": "a" * 64, "b/odd\nname": "b" * 64},
    }


def test_a_file_outside_is_refused_before_anything_is_read(tmp_path):
    ctx = FakeHandlerContext(tmp_path, RECORDED, HERE["path"])

    with pytest.raises(CommandError):
        handle(Checksum(), ctx, {**HERE, "files": ["../../etc/shadow"]})
    assert ctx.ran == []


def test_a_file_that_cannot_be_read_fails_the_command(tmp_path):
    complaint = "sha256sum: ./app.tar: Permission denied"
    ctx = FakeHandlerContext(tmp_path, {"sha256sum": Played(1, stderr=complaint)}, HERE["path"])

    with pytest.raises(ToolError, match="Permission denied"):
        handle(Checksum(), ctx, HERE)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Payload, {"path": "/srv", "files": []}),
        (Payload, {**HERE, "algorithm": "md5"}),
        (Options, {"algorithm": "md5"}),
    ],
)
def test_what_means_nothing_is_refused(model, said):
    with pytest.raises(ValidationError):
        model.model_validate(said)
