"""Repositories one after another, and of each its alerts, one kind after another.

In turn, as GitHub asks for; what a kind fails by is a notice of its repository, and the others are
collected all the same.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import anyio.to_thread

from rediver_agent import CollectContext, CollectEvent, Notice, ToolError, ToolInfo
from rediver_agent.contract import Finding, UtcDatetime
from rediver_github._cache import PageCache
from rediver_github._client import Client, Clock
from rediver_github._options import Options, distinct
from rediver_github._refusals import Refused
from rediver_github._values import number, table, text
from rediver_github.alerts import (
    AlertUnreadable,
    Kind,
    Repository,
    asset,
    finding,
    repository,
)

_PERMISSION: Final = {
    Kind.DEPENDABOT: "Dependabot alerts",
    Kind.CODE_SCANNING: "Code scanning alerts",
    Kind.SECRET_SCANNING: "Secret scanning alerts",
}
_ORGANIZATION_RIGHT: Final = (
    "it needs `Metadata: read`, or of a classic token `read:org` and `repo`"
)


async def collected(
    ctx: CollectContext, options: Options, clock: Clock
) -> AsyncGenerator[CollectEvent]:
    """Every asset with its alerts. Raises `ToolError` where there is more that cannot be had."""
    cache = PageCache(ctx.cache_dir / "pages", options.token.get_secret_value(), clock.now)
    async with Client(options, cache, clock, lambda what: ctx.progress(None, what)) as client:
        names, faults = await _names(ctx, client, options)
        for done, name in enumerate(names):
            ctx.progress(100 * done / len(names), f"{name} ({done + 1} of {len(names)})")
            of = Repository(name, options.web)
            yield asset(of)
            yield ToolInfo("github")
            async with aclosing(_Fetch(client, options, of).events()) as events:
                async for event in events:
                    yield event
        await anyio.to_thread.run_sync(cache.prune)
    if faults:
        raise ToolError("; ".join(faults))


async def _names(
    ctx: CollectContext, client: Client, options: Options
) -> tuple[list[str], list[str]]:
    """The repositories to collect, and why there are not more."""
    if chosen := options.chosen():
        return chosen, []
    names, faults, archived = list(options.repositories), list[str](), 0
    for owner in distinct(options.organizations):
        ctx.progress(None, f"the repositories of {owner}")
        what = f"the repositories of {owner}"
        pages = client.pages(
            f"/orgs/{owner}/repos", {"type": "all"}, what=what, right=_ORGANIZATION_RIGHT
        )
        try:
            async with aclosing(pages) as fetched:
                async for each in fetched:
                    for raw in each.page.items:
                        if table(raw).get("archived") is True and not options.include_archived:
                            archived += 1
                        else:
                            names.append(repository(table(raw)).full_name)
        except (Refused, AlertUnreadable) as fault:
            faults.append(str(fault))
    if archived:
        ctx.log.info("%d archived repositories are passed over (include_archived)", archived)
    return [name for name in distinct(names) if not options.excludes(name)], faults


@dataclass(slots=True)
class _Fetch:
    """The alerts of one repository."""

    client: Client
    options: Options
    of: Repository
    _called: str | None = None
    _seen: set[str] = field(default_factory=set[str])

    async def events(self) -> AsyncGenerator[Finding | Notice]:
        """The alerts of every kind that is asked for, and what is to be said of them."""
        for kind in self.options.alert_types:
            try:
                async with aclosing(self._of_kind(kind)) as events:
                    async for event in events:
                        yield event
            except Refused as fault:
                yield Notice(fault.level, str(fault))
        if since := self.options.since:
            yield Notice("warning", f"only alerts that changed since {since:%Y-%m-%d %H:%M} UTC")
        if self._called is not None:
            yield Notice(
                "warning",
                f"GitHub calls it {self._called or 'something else'} now; write it so in "
                "`repositories`, so that it is one asset wherever it is scanned",
            )

    async def _of_kind(self, kind: Kind) -> AsyncGenerator[Finding | Notice]:
        what = f"{kind} alerts"
        right = f"it needs `{_PERMISSION[kind]}: read`, or of a classic token `security_events`"
        path = f"/repos/{self.of.full_name}/{kind}/alerts"
        pages = self.client.pages(path, self._query(kind), what=what, right=right)
        async with aclosing(pages) as fetched:
            async for each in fetched:
                for raw in each.page.items:
                    self._learn_name(raw, each.moved)
                    for event in self._event(kind, raw):
                        yield event
                if each.moved and self._called is None:
                    self._called = ""
                if each.page.items and self._is_older(each.page.items[-1]):
                    return

    def _query(self, kind: Kind) -> dict[str, str]:
        query = {"state": "open"} if self.options.states == ["open"] else {}
        if self.options.since:
            query |= {"sort": "updated", "direction": "desc"}
        if kind is Kind.SECRET_SCANNING:
            query |= {"hide_secret": "true"}
        return query

    def _event(self, kind: Kind, raw: Any) -> list[Finding | Notice]:
        """An alert as a finding, unless it was there before or is not asked for."""
        alert = table(raw)
        name = f"{kind}/{number(alert.get('number'))}"
        if name in self._seen or self._is_older(alert):
            return []
        try:
            found = finding(kind, alert, self.of)
        except AlertUnreadable as fault:
            return [Notice("error", str(fault))]
        self._seen.add(name)
        return [found] if self.options.wants(found.status) else []

    def _is_older(self, raw: Any) -> bool:
        since: UtcDatetime | None = self.options.since
        changed = text(table(raw).get("updated_at")) or text(table(raw).get("created_at"))
        # Both are written alike, so that they compare as texts: 2024-01-16T10:00:00Z.
        return since is not None and bool(changed) and changed < f"{since:%Y-%m-%dT%H:%M:%SZ}"

    def _learn_name(self, raw: Any, moved: bool) -> None:
        """What GitHub itself calls the repository, where that is not how it was written.

        Raises `Refused` where that one may not be collected.
        """
        parts = urlsplit(text(table(raw).get("html_url"))).path.strip("/").split("/")
        name = "/".join(parts[:2])
        other = name.lower() != self.of.full_name.lower()
        if moved and not self.options.may_follow(self.of.full_name, name):
            raise Refused(
                f"GitHub calls it {name or 'something else'} now, which is not among the "
                "repositories and organizations that may be collected; the agent's operator can "
                "list it there"
            )
        if name != self.of.full_name and "/" in name and (moved or not other):
            self._called = name
