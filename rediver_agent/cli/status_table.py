"""How `rediver-agent status` looks to people: what is wrong stands out, what is not there is not
mentioned.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TextIO

from rich.table import Table
from rich.text import Text

from rediver_agent.cli.console import console_for
from rediver_agent.masking import printable

if TYPE_CHECKING:
    from rediver_agent.cli.status import Standing

GOOD: Final = "green"
DOUBTFUL: Final = "yellow"
BAD: Final = "bold red"
LONGEST_PROBLEM: Final = 160  # the whole of it is in `rediver-agent reports list`
UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))

Line = tuple[str, Text]


def write_status(standing: "Standing", now: datetime, stream: TextIO) -> None:
    """A headline, what runs, and a line for everything else that is known."""
    console = console_for(stream)
    console.print(_headline(standing, now), soft_wrap=True)
    if standing.state in ("running", "silent"):
        console.print()
        console.print(_running(standing.facts, now))
    lines = list(_lines(standing, now))
    if lines:
        console.print()
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in lines:
            table.add_row(name, text)
        console.print(table)


def span(duration: timedelta) -> str:
    """The two largest units: `3 d 4 h`, `12 min 5 s`, `0 s`."""
    seconds = max(0, round(duration.total_seconds()))
    parts: list[str] = []
    for unit, size in UNITS:
        count, seconds = divmod(seconds, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def _headline(standing: "Standing", now: datetime) -> Text:
    facts = standing.facts
    who = f"{facts.get('name', 'agent')} (rediver-agent {facts.get('version', '')})".replace(
        " )", ")"
    )
    text = Text(printable(who), style="bold")
    match standing.state:
        case "running":
            state = "draining" if facts.get("draining") else "running"
            style = DOUBTFUL if facts.get("draining") else GOOD
            text.append(f"  {state}", style=style)
            text.append(
                f"  {facts.get('mode')}, for {_since(facts.get('started_at'), now)}, "
                f"process {standing.pid}",
                style="not bold",
            )
        case "starting":
            text.append(f"  starting  process {standing.pid}", style=GOOD)
        case "silent":
            text.append(
                f"  silent  process {standing.pid} holds {standing.state_dir} and has written "
                f"nothing for {_since(facts.get('written_at'), now)}; restart it",
                style=BAD,
            )
        case "stopped":
            text.append(f"  not running on {standing.state_dir}", style=BAD)
            text.append(f"  {_last_seen(facts, now)}", style="not bold")
    return text


def _last_seen(facts: dict[str, Any], now: datetime) -> str:
    if "stopped_at" in facts:
        return f"stopped {_since(facts['stopped_at'], now)} ago"
    if "written_at" in facts:
        return f"ended without a word; last seen {_since(facts['written_at'], now)} ago"
    return "never was"


def _running(facts: dict[str, Any], now: datetime) -> Table | Text:
    jobs: list[dict[str, Any]] = facts.get("running") or []
    if not jobs:
        return Text("nothing in hand", style="dim")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("command", "what", "for", "progress"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        what = " ".join(str(job[key]) for key in ("type", "name", "target") if job.get(key))
        percent = job.get("percent")
        done = f"{percent:.0f} % " if isinstance(percent, int | float) else ""
        table.add_row(
            printable(f"{job.get('id')}{'' if job.get('commanded') else ' (local)'}"),
            printable(what),
            _since(job.get("started_at"), now),
            printable(f"{done}{job.get('message') or ''}"),
        )
    return table


def _lines(standing: "Standing", now: datetime) -> Iterator[Line]:
    facts = standing.facts
    if standing.state in ("running", "silent"):
        slots: dict[str, Any] = facts.get("slots") or {}
        busy = slots.get("all", 0) - slots.get("free", 0)
        ended = f"{facts.get('finished', 0)} done since the start, {facts.get('failed', 0)} failed"
        yield "slots", Text(f"{busy} of {slots.get('all')} busy; {ended}")
        if facts.get("mode") != "standalone":
            yield "server", _server(facts, now)
            yield "woken by", _socket(facts)
        for name, key in (("next scan", "next_scan_at"), ("next collection", "next_collect_at")):
            if facts.get(key):
                yield name, Text(_until(facts[key], now))
        for listener in facts.get("listening") or ():
            yield printable(str(listener.get("name"))), _listener(listener)
        if version := facts.get("settings_version"):
            yield "settings", Text(f"changed by the server, version {version}")
    yield "spool", _spool(facts, now)
    for number, outcome in enumerate(facts.get("recent") or ()):
        yield "" if number else "local runs", _outcome(outcome, now)
    for name in facts.get("moved_aside") or ():
        yield "damaged", Text(f"{name} was set aside; see the log of that time", style=BAD)
    free = facts.get("disk_free_bytes")
    if isinstance(free, int):
        yield "disk", Text(f"{free / (1 << 30):.1f} GiB free")


def _server(facts: dict[str, Any], now: datetime) -> Text:
    poll: dict[str, Any] = facts.get("poll") or {}
    text = Text(f"{facts.get('server')}  ")
    if problem := poll.get("problem"):
        good = poll.get("last_good_at")
        last = f"last answered {_since(good, now)} ago" if good else "never answered yet"
        text.append(f"{last}: {printable(str(problem))}", style=BAD)
    elif poll.get("last_at"):
        text.append(f"answered {_since(poll['last_at'], now)} ago", style=GOOD)
    else:
        text.append("not asked yet", style=DOUBTFUL)
    if poll.get("next_at"):
        text.append(f"; asked again {_until(poll['next_at'], now)}")
    return text


def _listener(listener: dict[str, Any]) -> Text:
    if problem := listener.get("problem"):
        return Text(printable(f"does not listen: {problem}"), style=BAD)
    message = listener.get("message") or "listens"
    return Text(printable(f"{message}; {listener.get('kept')} kept"), style=GOOD)


def _socket(facts: dict[str, Any]) -> Text:
    socket = str(facts.get("socket"))
    if socket == "open":
        return Text("the server, by a WebSocket", style=GOOD)
    why = "" if socket == "off" else f"; no WebSocket: {socket}"
    return Text(printable(f"polls alone{why}"), style="" if socket == "off" else DOUBTFUL)


def _spool(facts: dict[str, Any], now: datetime) -> Text:
    spool: dict[str, Any] = facts.get("spool") or {}
    if problem := spool.get("problem"):
        return Text(printable(str(problem)), style=BAD)
    if not spool.get("waiting") and not spool.get("parked"):
        return Text("nothing waits", style=GOOD)
    if facts.get("server") is None and not spool.get("parked"):
        return Text(f"{spool['waiting']} parts of reports are kept; no server is configured")
    text = Text(f"{spool['waiting']} wait for the server", style=DOUBTFUL)
    if parked := spool.get("parked"):
        text.append(f", {parked} refused by it; see `rediver-agent spool list`", style=BAD)
    if oldest := spool.get("oldest_at"):
        text.append(f"; the oldest for {_since(oldest, now)}")
    return text


def _outcome(outcome: dict[str, Any], now: datetime) -> Text:
    what = " ".join(str(outcome[key]) for key in ("kind", "name", "target") if outcome.get(key))
    ago = f"{_since(outcome.get('finished_at'), now)} ago"
    if outcome.get("status") == "completed":
        return Text(printable(f"{what}: {outcome.get('findings')} findings, {ago}"))
    problem = " ".join(str(outcome.get("error") or "").split())
    if len(problem) > LONGEST_PROBLEM:
        problem = f"{problem[:LONGEST_PROBLEM]}…"
    return Text(printable(f"{what}: {outcome.get('status')}, {ago}: {problem}"), style=BAD)


def _since(written: Any, now: datetime) -> str:
    return span(now - datetime.fromisoformat(written)) if isinstance(written, str) else "?"


def _until(written: Any, now: datetime) -> str:
    wait = datetime.fromisoformat(written) - now if isinstance(written, str) else timedelta()
    return f"in {span(wait)}" if wait > timedelta(seconds=1) else "now"
