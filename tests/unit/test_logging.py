"""The log of `run`: a document or a line each, whose it is, and never a secret."""

import json
import re
import subprocess  # noqa: TID251 - logging is set up once in a process
import sys
from textwrap import dedent

import pytest

SET_UP = """
import logging, threading, warnings
import anyio, anyio.to_thread
from rediver_agent.log import current_command, set_level, set_up_logging
secrets = ["hunter2", 'quo"ted\\\\secret']
set_up_logging(secrets=lambda: secrets, log_format={log_format!r})
log = logging.getLogger("rediver_agent.somewhere")
"""


def logged(log_format, code):
    """What a process logs, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", SET_UP.format(log_format=log_format) + dedent(code)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def documents(code):
    return [json.loads(line) for line in logged("json", code)]


def test_a_line_is_a_document_with_time_level_logger_and_message():
    (line,) = documents("log.warning('%d rows\\nwait', 3)")

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "WARNING", "logger": "rediver_agent.somewhere", "message": "3 rows\nwait",
    }  # fmt: skip


def test_an_error_is_one_document_with_its_traceback():
    (line,) = documents("""
        try:
            raise ValueError("with hunter2 in it")
        except ValueError:
            log.exception("it failed")
    """)

    assert line["message"] == "it failed"
    assert line["exc_info"].startswith("Traceback")
    assert line["exc_info"].endswith("ValueError: with *** in it")


ABOUT_A_COMMAND = """
    async def main():
        current_command.set("cmd_1")
        log.info("cmd_1: begins")
        await anyio.to_thread.run_sync(log.info, "in a thread")
        async with anyio.create_task_group() as tasks:
            async def below():
                log.info("in a task")
            tasks.start_soon(below)
        threading.Thread(target=lambda: log.info("of nobody")).start()
        threading.Thread(target=lambda: log.info("cmd_3: told by a loop")).start()
        logging.LoggerAdapter(log, {"command_id": "cmd_2"}).info("a plugin's own")
    anyio.run(main)
"""


def test_what_is_logged_below_a_command_carries_its_id():
    found = [(line["message"], line.get("command_id")) for line in documents(ABOUT_A_COMMAND)]

    assert sorted(found, key=str) == [
        ("a plugin's own", "cmd_2"),
        ("cmd_1: begins", "cmd_1"),
        ("cmd_3: told by a loop", "cmd_3"),
        ("in a task", "cmd_1"),
        ("in a thread", "cmd_1"),
        ("of nobody", None),
    ]


def test_lines_for_people_say_the_command_once():
    said = [line.partition("INFO    ")[2] for line in logged("text", ABOUT_A_COMMAND)]

    assert sorted(said) == [
        "cmd_1: begins", "cmd_1: in a task", "cmd_1: in a thread", "cmd_2: a plugin's own",
        "cmd_3: told by a loop", "of nobody",
    ]  # fmt: skip


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_logged_wherever_it_stands_and_whenever_it_became_one(log_format):
    said = "\n".join(
        logged(
            log_format,
            r"""
            log.info("token hunter2 and %s", 'quo"ted\\secret')
            log.info("extra", extra={"place": {"hunter2": ["a", ("hunter2",)]}, "what": log})
            log.info("later: changed1")
            secrets.append("changed1")
            log.info("now: changed1")
            """,
        )
    )

    assert "hunter2" not in said
    assert "ted" not in said
    assert "later: changed1" in said
    assert "now: ***" in said


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_that_is_logged_steers_a_terminal(log_format):
    (line,) = logged(log_format, r"log.info('a\x1b[2Jname\u202e')")

    assert line.isprintable()
    assert "name" in line


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_how_much_is_logged_may_change_at_any_time(log_format):
    said = "\n".join(
        logged(
            log_format,
            """
            log.debug("one")
            set_level(verbose=True)
            log.debug("two")
            set_level(verbose=False)
            log.debug("three")
            """,
        )
    )

    assert "two" in said
    assert "one" not in said
    assert "three" not in said


def test_a_warning_of_a_library_is_a_document_too():
    (line,) = documents("warnings.warn('old hunter2', stacklevel=1)")

    assert "old ***" in line["message"]
    assert line["logger"] == "py.warnings"
