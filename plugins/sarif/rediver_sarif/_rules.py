"""Which rule a result means, and what was found out about its results before.

Results name their rule by id, by its place in the driver or an extension, by guid, or by a longer
id (`rule/variant`); what they say of it need not be true. What is remembered is bounded by the
length of its texts: when that is reached, it is forgotten and found again.
"""

from collections.abc import Mapping
from typing import Any, Final

from rediver_agent import severity_from_sarif
from rediver_agent.contract import FindingType, Severity
from rediver_sarif._about import NOTHING, About, Own, about
from rediver_sarif._rule import LEVELS, Rule, made
from rediver_sarif._run import Run
from rediver_sarif._store import Row
from rediver_sarif._values import index, table, text, word

_REMEMBERED: Final = 4_000_000  # characters of what is stored of rules, and of what results add
_MAX_PARENTS: Final = 10
_NO_RULE: Final = Rule()

_OBJECT: Final = 500  # what an entry costs beside its texts

Common = Mapping[str, Any]


class Named:
    """A rule, by the id that its results give it. One may be of no rule that the report has."""

    def __init__(self, rule_id: str, rule: Rule | None, size: int) -> None:
        self.id = rule_id
        self.rule = rule or _NO_RULE
        self.size = size
        self.severities: dict[tuple[str | None, bool], Severity] = {}
        self.abouts: dict[Own, About] = {}
        self.commons: dict[str | None, Common | None] = {}
        self.title = self.rule.headline


class Rules:
    """The rules of one run, and the levels that its invocations gave them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tool = run.tool.name
        self._known: dict[tuple[Any, ...], Named] = {}
        self._size = 0
        self._levels = self._overrides()

    def of(self, result: Mapping[str, Any]) -> Named:
        """The rule's id as the result has it ("" for none), and the rule where it is known."""
        key = _key(result)
        if key is None:
            return self._named(result)
        known = self._known.get(key)
        if known is None:
            known = self._named(result)
            self._remember(known.size)
            self._known[key] = known
        return known

    def plain(self, rule_id: str | None, place: int | None) -> Named:
        """The same for a result that says nothing else of its rule."""
        known = self._known.get((rule_id, place))
        return known or self.of({"ruleId": rule_id, "ruleIndex": place})

    def about(self, named: Named, own: Own) -> About:
        """What a result of that rule is about that adds this to it."""
        found = named.abouts.get(own)
        if found is None:
            found = about(self._tool, named.id, named.rule, own)
            self._remember(0 if own is NOTHING else len(repr(own)))
            named.abouts[own] = found
        return found

    def severity(
        self, named: Named, result: Mapping[str, Any], kind: str, own: float | None
    ) -> Severity:
        """How severe a result is, `own` being its own score."""
        level = result.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            level = None
        if own is not None or (level is None and self._levels):
            return self._severity(named, result, kind, own)
        case = level, kind == "fail"
        found = named.severities.get(case)
        if found is None:
            found = named.severities[case] = self._severity(named, result, kind, None)
        return found

    def plain_severity(self, named: Named, level: str | None) -> Severity:
        """The same for a problem without a score of its own, and of no named invocation."""
        known = named.severities.get((level, True))
        return known or self.severity(named, {"level": level}, "fail", None)

    def common(self, named: Named, level: str | None) -> "Common | None":
        """What all results of a rule have that add nothing; None if they are secrets."""
        if level not in LEVELS:
            level = None
        if level not in named.commons:
            found = self.about(named, NOTHING)
            self._remember(_OBJECT)
            named.commons[level] = (
                None
                if found.type is FindingType.SECRET
                else {**found.fields, "severity": self.plain_severity(named, level)}
            )
        return named.commons[level]

    def _severity(
        self, named: Named, result: Mapping[str, Any], kind: str, own: float | None
    ) -> Severity:
        level = result.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            invocation = index(table(result.get("provenance")).get("invocationIndex"))
            level = self._level(named, invocation) if kind == "fail" else "none"
        score = named.rule.score if own is None else own
        return severity_from_sarif(score, level, named.rule.level)

    def _level(self, named: Named, invocation: int | None) -> str | None:
        """The level that an invocation's configuration gave the rule."""
        if not self._levels:
            return None
        keys = ((invocation, key) for key in (named.rule.key, *_with_parents(named.id)))
        return next((self._levels[key] for key in keys if key in self._levels), None)

    def _remember(self, size: int) -> None:
        self._size += size + _OBJECT
        if self._size > _REMEMBERED:
            self._known.clear()
            self._size = size

    def _named(self, result: Mapping[str, Any]) -> Named:
        reference = table(result.get("rule"))
        rule_id = word(result.get("ruleId")) or word(reference.get("id"))
        place = index(result.get("ruleIndex"))
        place = index(reference.get("index")) if place is None else place
        component = self._run.component(reference.get("toolComponent")) if reference else None
        found = self._find(rule_id, place, word(reference.get("guid")).lower(), component)
        if found is None:
            return Named(rule_id, None, len(rule_id))
        key, body, size = found
        rule = made(key, body, [self._run.taxon(taxon) for taxon in body["taxa"]])
        return Named(rule_id or rule.id, rule, size)

    def _find(
        self, rule_id: str, place: int | None, guid: str, component: int | None
    ) -> Row | None:
        run, store = self._run.number, self._run.store
        at_place = store.rule_at(run, component or 0, place) if place is not None else None
        if at_place and (not rule_id or at_place[1]["id"] in _with_parents(rule_id)):
            return at_place
        named = store.rule_by_guid(run, guid) if guid else None
        for name in _with_parents(rule_id):
            named = named or store.rule_by_id(run, name, component)
        return named or at_place  # an id that no rule has says less than the place beside it

    def _overrides(self) -> dict[tuple[int | None, int | str], str]:
        """Levels by (invocation, rule): None stands for results that name no invocation."""
        levels: dict[tuple[int | None, int | str], str] = {}
        for invocation, override in self._run.overrides:
            level = text(table(override.get("configuration")).get("level"))
            named = self._named({"rule": table(override.get("descriptor"))})
            if level in LEVELS:
                key = named.id if named.rule is _NO_RULE else named.rule.key
                levels[invocation, key] = level
                levels[None, key] = level
        return levels


def _key(result: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What a result says of its rule; None where that cannot be a key."""
    rule_id, place = result.get("ruleId"), result.get("ruleIndex")
    if not _is_plain(rule_id, place):
        return None
    if "rule" not in result:
        return rule_id, place
    reference = table(result["rule"])
    inner = table(reference.get("toolComponent"))
    own = reference.get("id"), reference.get("index"), reference.get("guid")
    component = inner.get("name"), inner.get("index"), inner.get("guid")
    if all(_is_plain(one[0], one[1]) and _is_plain(one[2], None) for one in (own, component)):
        return rule_id, place, own, component
    return None


def _is_plain(name: object, place: object) -> bool:
    """Whether they can be of a key: True and 1 would be the same one."""
    return (name is None or type(name) is str) and (place is None or type(place) is int)


def _with_parents(rule_id: str) -> list[str]:
    """`a/b/c`, `a/b`, `a`: a rule's id may go on after a slash. [] for no id."""
    found = [rule_id] if rule_id else []
    while "/" in rule_id and len(found) < _MAX_PARENTS:
        rule_id = rule_id.rpartition("/")[0]
        found.append(rule_id)
    return found
