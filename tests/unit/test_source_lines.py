"""Quoting the scanned source: the right lines, and nothing from outside the target."""

import os

import pytest

from rediver_agent.source_lines import MAX_CHARACTERS, MAX_LINES, SourceLines


@pytest.fixture
def target(tmp_path):
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / "src" / "a.py").write_text("one\ntwo\nthree\n")
    (tmp_path / "secret.txt").write_text("outside\n")
    (tmp_path / "app" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "app" / "dir").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "app" / "pipe")
    descriptor = os.open(tmp_path / "app", os.O_RDONLY)
    yield SourceLines(descriptor, tmp_path / "app")
    os.close(descriptor)


def test_lines_are_quoted_by_number(target):
    assert target.quote("src/a.py", 2, None) == "two"
    assert target.quote("src/a.py", 2, 3) == "two\nthree"
    assert target.quote("src/a.py", 3, 1) == "three"
    assert target.quote("src/a.py", 9, 12) is None


def test_only_a_newline_ends_a_line(target, tmp_path):
    (tmp_path / "app" / "odd.c").write_bytes(b"a\x0cb\xc2\x85\r\ntwo\0\nthree")

    assert target.quote("odd.c", 2, 3) == "two\ufffd\nthree"


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "/etc/hostname", "link.txt", "dir/secret.txt", "pipe", "src", "", "nowhere"],
)
def test_nothing_outside_the_target_is_ever_quoted(target, path):
    assert target.quote(path, 1, None) is None


def test_a_quote_is_bounded(target, tmp_path):
    (tmp_path / "app" / "big.txt").write_text("x" * 10_000 + "\n" + "y\n" * 100)

    assert len(target.quote("big.txt", 1, None)) == MAX_CHARACTERS
    assert target.quote("big.txt", 2, 90).count("\n") == MAX_LINES - 1


def test_a_file_of_the_target_is_named_as_in_the_target(target, tmp_path):
    there = f"{tmp_path}/app/src/a.py"

    assert target.relative(there) == "src/a.py"
    assert target.relative(there.lstrip("/")) == "src/a.py"
    assert target.relative(f"{tmp_path}/app/link.txt") == "link.txt"


def test_what_is_not_in_the_target_keeps_its_name(target, tmp_path):
    for path in (
        f"{tmp_path}/app/nowhere",
        f"{tmp_path}/secret.txt",
        f"{tmp_path}/app",
        "src/a.py",
    ):
        assert target.relative(path) == path
    assert target.relative(f"{tmp_path}/app/dir/secret.txt") == f"{tmp_path}/app/dir/secret.txt"


def test_a_folder_that_is_called_as_the_way_to_the_target_keeps_its_name(target, tmp_path):
    inside = f"{tmp_path}/app/src/a.py".lstrip("/")
    copy = tmp_path / "app" / inside
    copy.parent.mkdir(parents=True)
    copy.write_text("another\n")

    assert target.relative(inside) == inside
