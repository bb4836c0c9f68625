"""The kit for plugin authors: contexts that play recorded outputs, and standard checks.

    def test_standard_checks(tmp_path):
        check_scanner(Bandit(), {"bandit": Played(files={"report": SAMPLE})}, tmp_path)
        check_parser(BanditParser(), SAMPLE)

    def test_it_is_found():
        assert [scanner.name for scanner in provided("bandit", "scanner")] == ["bandit"]

    def test_the_collector(tmp_path, hub):  # a server of the test's own, with some findings
        check_collector(Hub(), tmp_path, secrets=["t0ken"], url=hub.url, token="t0ken")

    def test_the_listener(tmp_path):  # `push` sends it something, to where it says it listens
        check_listener(Ears(), tmp_path, push, {"port": 0, "secret": "s3cret"}, secrets=["s3cret"])

    def test_the_command_type(tmp_path):
        check_handler(Greeter(), {"name": "you"}, tmp_path, recorded={"greet": Played(stdout="hi")})

    def test_those_who_watch():
        check_enricher(Owners(), team="payments")
        check_observer(Pager())

Every built-in plugin runs the same checks. A check that fails raises `AssertionError` with a
sentence that says what to change. The tool itself is never needed: `check_scanner` and
`check_handler` play what was recorded by small programs of their own, and leave none of them.
"""

from rediver_agent.testing._collectors import check_collector, check_listener
from rediver_agent.testing._contexts import (
    FakeCollectContext,
    FakeHandlerContext,
    FakeListenContext,
    FakeScanContext,
    Kept,
    Played,
    Recorded,
    collect,
    handle,
    parse,
    scan,
)
from rediver_agent.testing._handlers import check_handler
from rediver_agent.testing._parsers import HOSTILE, check_parser
from rediver_agent.testing._provided import (
    discovered,  # pyright: ignore[reportDeprecated] - until it goes
    discovered_collectors,  # pyright: ignore[reportDeprecated] - until it goes
    provided,
)
from rediver_agent.testing._scanners import check_scanner
from rediver_agent.testing._watchers import check_enricher, check_observer

__all__ = [
    "HOSTILE",
    "FakeCollectContext",
    "FakeHandlerContext",
    "FakeListenContext",
    "FakeScanContext",
    "Kept",
    "Played",
    "Recorded",
    "check_collector",
    "check_enricher",
    "check_handler",
    "check_listener",
    "check_observer",
    "check_parser",
    "check_scanner",
    "collect",
    "discovered",
    "discovered_collectors",
    "handle",
    "parse",
    "provided",
    "scan",
]
