"""The key of each request: read anew from its file, never given up for a worse one."""

import os
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from rediver_agent.credentials import ApiKey, Credentials, Secrets, keep
from rediver_agent.settings import ServerSection

SERVER = "https://a.example"
NO_KEYS = (b"", b"\n", b"two words", b"\xff\xfe", b"{", b"{}", b"k" * 5000)


def rotating(file, key="rs_src_first", **server):
    """A key of a file, and everything that is masked because of it."""
    file.write_text(f"{key}\n")
    secrets = Secrets()
    return ApiKey(ServerSection(api_key_file=file, **server), secrets), secrets


def test_a_key_is_read_anew_for_each_request(tmp_path):
    key, secrets = rotating(tmp_path / "key")
    assert key.current() == "rs_src_first"

    (tmp_path / "key").write_text("rs_src_other")  # of the same length, in the same moment
    assert key.current() == "rs_src_other"
    (tmp_path / "new").write_text("rs_src_third")
    (tmp_path / "new").replace(tmp_path / "key")
    assert key.current() == "rs_src_third"
    assert set(secrets()) >= {"rs_src_first", "rs_src_other", "rs_src_third"}


def absent(file):
    file.unlink()


def a_directory(file):
    file.unlink()
    file.mkdir()


def a_pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "spoil",
    [
        absent, a_directory, a_pipe,
        *(lambda file, content=content: file.write_bytes(content) for content in NO_KEYS),
    ],
)  # fmt: skip
def test_the_last_good_key_stays_while_the_file_holds_none(tmp_path, spoil, caplog):
    file = tmp_path / "key"
    key, _ = rotating(file)
    spoil(file)

    assert [key.current() for _ in range(3)] == ["rs_src_first"] * 3
    assert len(caplog.records) == (spoil is not a_pipe)  # said once, not with each request
    if file.is_dir():
        file.rmdir()
    (tmp_path / "new").write_text("rs_src_second")
    (tmp_path / "new").replace(file)
    assert key.current() == "rs_src_second"


def test_enrolling_anew_renews_the_key_of_the_same_source_only(tmp_path, caplog):
    def enrolled(source, key, url=SERVER):
        return keep(
            tmp_path,
            Credentials(
                base_url=url, source_id=source, api_key=SecretStr(key), name="a",
                enrolled_at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        )  # fmt: skip

    file = enrolled("src_1", "rs_src_first")
    section = ServerSection(
        base_url=SERVER, source_id="src_1", api_key=SecretStr("rs_src_first"), api_key_file=file
    )
    key = ApiKey(section)
    enrolled("src_1", "rs_src_second")
    assert key.current() == "rs_src_second"
    enrolled("src_2", "rs_src_third")
    assert key.current() == "rs_src_second"
    assert "the agent has to be restarted" in caplog.text
    enrolled("src_1", "rs_src_evil", "https://evil.example")
    assert key.current() == "rs_src_second"
