"""`.rediver.yaml`: what it suppresses, until when, and what is refused rather than guessed."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest

from rediver_agent.contract.findings import Finding, Location, Suppression
from rediver_agent.errors import SuppressionsUnreadable
from rediver_agent.suppressions import Suppressions, matches_path
from rediver_agent.suppressions_file import read_suppressions

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GOOD = "{rule: a.b, reason: r, expires: 2027-01-01}"


def read(directory):
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return read_suppressions(descriptor, PurePosixPath(directory))
    finally:
        os.close(descriptor)


def entries(directory, *lines):
    (directory / ".rediver.yaml").write_text(
        "\n".join(["suppressions:", *(f"  - {line}" for line in lines)])
    )
    return read(directory)


def finding(rule="a.b", path="src/x.py", fingerprint="rv1:1", **fields):
    return Finding(
        type="vulnerability", title="t", severity="high", rule_id=rule, fingerprint=fingerprint,
        location=Location(path=path) if path else None, **fields,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "matches"),
    [
        ("rule: a.b", True),
        ("rule: a.*", True),
        ("rule: a", False),
        ("rule: A.B", False),
        ("path: src/x.py", True),
        ("path: ./src/x.py", True),
        ("path: src/", True),
        ("path: '*.py'", False),
        ("path: '**/*.py'", True),
        ("fingerprint: rv1:1", True),
        ("fingerprint: 'rv1:*'", False),
        ("rule: a.b, path: 'lib/**'", False),
        ("rule: '*', path: 'src/**'", True),
        ("rule: a.b, path: 'src/**', fingerprint: rv1:2", False),
    ],
)
def test_all_that_an_entry_names_must_match(tmp_path, written, matches):
    said = Suppressions(
        entries(tmp_path, f"{{{written}, reason: on purpose, expires: 2027-01-01}}"), NOW
    )

    accepted = Suppression(kind="external", justification="on purpose") if matches else None
    assert said.of(finding()) == accepted
    assert said.suppressed == matches
    assert [str(entry).partition(" (")[0] for entry in said.unmatched()] == (
        [] if matches else [".rediver.yaml line 2"]
    )


def test_a_path_is_no_match_for_a_finding_without_one(tmp_path):
    said = Suppressions(entries(tmp_path, "{path: 'a**', reason: r, expires: 2027-01-01}"), NOW)

    assert said.of(finding(path=None)) is None


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/a.py", "a.py", True),
        ("**/a.py", "x/y/a.py", True),
        ("src/**", "src/a/b.py", True),
        ("src/**/b.py", "src/b.py", True),
        ("src/**/t/**/b.py", "src/t/u/t/b.py", True),
        ("src/*/b.py", "src/b.py", False),
        ("src/*/b.py", "src/x/y/b.py", False),
        ("src/?.py", "src/ab.py", False),
        ("src/[ab].py", "src/b.py", True),
        ("src", "src/a.py", False),
        ("/src/a.py", "src/a.py", True),
        ("**/src", "src/a.py", False),
    ],
)
def test_a_star_stays_in_its_directory_and_two_do_not(pattern, path, matches):
    assert matches_path(pattern, path) is matches


def test_no_pattern_takes_exponential_time():
    """Without care the first takes years, and the test its time-out."""
    assert not matches_path("**/a/" * 30 + "b", "a/" * 300 + "c")
    assert not matches_path("*a" * 40 + "b", "a" * 4000)


@pytest.mark.parametrize(
    ("expires", "holds"),
    [
        ("2026-06-01", True),
        ("2026-05-31", False),
        ("2026-06-01T12:00:00Z", True),
        ("2026-06-01T13:59:59+02:00", False),
        ("2026-06-01T14:00:01+02:00", True),
        ("9999-12-31", True),
    ],
)
def test_an_entry_holds_until_the_end_of_its_day_or_its_time(tmp_path, expires, holds):
    said = Suppressions(entries(tmp_path, f"{{rule: a.b, reason: r, expires: {expires}}}"), NOW)

    assert (said.of(finding()) is not None) is holds
    assert bool(said.expired()) is not holds
    assert said.unmatched() == [], "what is over is said once"


def test_of_two_entries_the_one_that_holds_longer_counts(tmp_path):
    said = Suppressions(
        entries(
            tmp_path,
            "{rule: a.b, reason: short, expires: 2026-06-06}",
            "{path: src/x.py, reason: long, expires: 2026-06-11}",
        ),
        NOW,
    )

    assert said.of(finding()).justification == "long"
    assert said.ending() == [(10, 1)]
    assert said.unmatched() == []


def test_what_the_source_itself_accepts_stays_as_it_is(tmp_path):
    said = Suppressions(entries(tmp_path, GOOD), NOW)
    own = Suppression(kind="inSource", justification="nosemgrep")

    assert said.of(finding(suppression=own)) == own
    assert (said.suppressed, said.unmatched()) == (0, [])


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "suppressions:\n", "suppressions: []\n"])
def test_a_file_that_says_nothing_suppresses_nothing(tmp_path, text):
    (tmp_path / ".rediver.yaml").write_text(text)

    assert read(tmp_path) == []


BOMB = "suppressions: &a [&b [&c [x, x], *c, *c]]\nx: *a"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("suppression: []", "line 1: `suppression` is no key of the file; did you mean suppr"),
        ("[]", "line 1: the file must be keys with values"),
        ("just words", "line 1: the file must be keys"),
        ("suppressions: {}", "line 1: `suppressions` must be a list"),
        ("suppressions: []\nsuppressions: []", "line 2: `suppressions` is there twice"),
        ("suppressions:\n  - words", "line 2: a suppression must be keys"),
        ("suppressions:\n- rule: a\n  reason: r\n", "line 2: a suppression needs `expires`"),
        ("suppressions:\n- {rule: a, expires: 2027-01-01}", "line 2: a suppression needs `reason`"),
        ("suppressions:\n- {reason: r, expires: 2027-01-01}", "needs `rule`, `path` or `finger"),
        (
            "suppressions:\n- rule: a\n  rules: b",
            "line 3: `rules` is no key of a suppression; did ",
        ),
        ("suppressions:\n- rule: a\n  rule: b", "line 3: `rule` is there twice"),
        ("suppressions:\n- rule: [a]", "line 2: `rule` must be a text"),
        ("suppressions:\n- rule: ''", "line 2: `rule` is empty"),
        ("suppressions:\n- rule:\n", "line 2: `rule` is empty"),
        ("suppressions:\n- {rule: a, reason: ' ', expires: 2027-01-01}", "`reason` is empty"),
        ("suppressions:\n- {rule: a, reason: r, expires: soon}", "`expires` must be a day such as"),
        ("suppressions:\n- {rule: a, reason: r, expires: 2027-02-30}", "`expires` must be a day"),
        ("suppressions:\n- {rule: a, reason: r, expires: 2027-1-1}", "`expires` must be a day"),
        ("suppressions:\n- {rule: a, reason: r, expires: 2027-01-01T00:00:00}", "with a zone"),
        ("suppressions:\n- {path: '**', reason: r, expires: 2027-01-01}", "suppress everything"),
        ("suppressions:\n- {path: '**/*.*', reason: r, expires: 2027-01-01}", "everything"),
        ("suppressions:\n- {path: '**/[!x]*', reason: r, expires: 2027-01-01}", "everything"),
        ("suppressions:\n- {path: '**/[!]a]*', reason: r, expires: 2027-01-01}", "everything"),
        ("suppressions:\n- {rule: '[]a-z]*', reason: r, expires: 2027-01-01}", "everything"),
        ("suppressions:\n- {rule: '*', path: '**', reason: r, expires: 2027-01-01}", "everything"),
        ("suppressions:\n- <<: {rule: a}\n", "line 2: `<<` is no key of a suppression"),
        ("suppressions:\n- !!python/object:os.system {}", "line 2: a suppression must be keys"),
        ("suppressions:\n- {rule: !!binary aGk=}", "line 2: `rule` must be a text"),
        (BOMB, "line 1: an alias (*name) is not taken here"),
        ("[" * 100_000, "line 1: it is nested too deeply"),
        ("suppressions: [\n", "line 2: "),
        ("suppressions: []\n---\nsuppressions: []", "line 2: "),
        (b"suppressions: [\xff]", "is not UTF-8"),
        ("suppressions: [\x00]", "is not YAML"),
        ('suppressions: "\\UFFFFFFFF"', "is not YAML"),
        ('suppressions:\n- {rule: a, reason: "\\ud800"}', "`reason` must be a text of at most"),
        ('suppressions:\n- {rule: a, reason: "\\0"}', "`reason` must be a text of at most"),
        (f"suppressions:\n- {{rule: a, reason: {'x' * 2001}}}", "at most 2000 characters"),
        ("# " + "x" * (256 << 10), "larger than 256 KiB"),
    ],
)
def test_what_is_not_understood_is_refused_naming_file_line_and_key(tmp_path, text, sentence):
    (tmp_path / ".rediver.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(SuppressionsUnreadable) as refused:
        read(tmp_path)

    assert str(refused.value).startswith(f"{tmp_path}/.rediver.yaml ")
    assert sentence in str(refused.value)


def test_the_file_is_no_link_no_directory_and_no_pipe(tmp_path):
    file = tmp_path / ".rediver.yaml"
    (tmp_path / "elsewhere.yaml").write_text(f"suppressions: [{GOOD}]")

    file.symlink_to("elsewhere.yaml")
    with pytest.raises(SuppressionsUnreadable, match="symbolic link"):
        read(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.raises(SuppressionsUnreadable, match="no regular file"):
        read(tmp_path)
    file.rmdir()
    os.mkfifo(file)
    with pytest.raises(SuppressionsUnreadable, match="no regular file"):
        read(tmp_path)


def test_no_file_is_no_suppressions(tmp_path):
    assert read(tmp_path) == []
    assert Suppressions([], NOW + timedelta(days=1)).of(finding()) is None
