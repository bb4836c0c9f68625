"""The kit for plugin authors: contexts that play recorded outputs, and standard checks.

    def test_standard_checks(tmp_path):
        check_scanner(Bandit(), {"bandit": Played(files={"report.json": SAMPLE})}, tmp_path)
        check_parser(BanditParser(), SAMPLE)

    def test_the_collector(tmp_path, hub):  # a server of the test's own, with some findings
        check_collector(Hub(), tmp_path, secrets=["t0ken"], url=hub.url, token="t0ken")

    def test_the_listener(tmp_path):  # `push` sends it something, to where it says it listens
        check_listener(Ears(), tmp_path, push, {"port": 0, "secret": "s3cret"}, secrets=["s3cret"])

Every built-in plugin runs the same checks. A check that fails raises `AssertionError` with a
sentence that says what to change. Nothing here starts a program.
"""

from rediver_agent.testing._collectors import check_collector, check_listener
from rediver_agent.testing._contexts import (
    FakeCollectContext,
    FakeListenContext,
    FakeScanContext,
    Kept,
    Played,
    Recorded,
    collect,
    discovered,
    discovered_collectors,
    parse,
    scan,
)
from rediver_agent.testing._scanners import HOSTILE, check_parser, check_scanner

__all__ = [
    "HOSTILE",
    "FakeCollectContext",
    "FakeListenContext",
    "FakeScanContext",
    "Kept",
    "Played",
    "Recorded",
    "check_collector",
    "check_listener",
    "check_parser",
    "check_scanner",
    "collect",
    "discovered",
    "discovered_collectors",
    "parse",
    "scan",
]
