"""Rules: what is kept of a `reportingDescriptor`, and which one a result means.

Results name their rule by id, by its place in the driver or an extension, by guid, or by a longer
id (`rule/variant`); what they say of it need not be true.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from rediver_sarif._message import templates, written
from rediver_sarif._values import distinct, index, table, tables, text, word, words
from rediver_sarif._weaknesses import cwe_ids, owasp_ids

if TYPE_CHECKING:
    from rediver_sarif._run import Run

MAX_TAGS: Final = 50
LEVELS: Final = frozenset({"error", "warning", "note", "none"})
_REFERENCE: Final = frozenset({"id", "index", "guid", "toolComponent"})
_CONFIDENCE: Final = {"very-high": 95, "high": 80, "medium": 60, "low": 30}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready for its results."""

    key: int = 0
    id: str = ""
    name: str = ""
    level: str | None = None
    score: Any = None
    title: str = ""
    description: str = ""
    help_uri: str = ""
    confidence: int | None = None
    tags: tuple[str, ...] = ()
    cwe_ids: tuple[str, ...] = ()
    owasp_ids: tuple[str, ...] = ()
    messages: Mapping[str, str] = field(default_factory=dict[str, str])


def kept(descriptor: object) -> dict[str, Any]:
    """What is stored of a descriptor: bounded, whatever it holds."""
    about = table(descriptor)
    properties = table(about.get("properties"))
    level = table(about.get("defaultConfiguration")).get("level")
    score = properties.get("security-severity")
    return {
        "id": word(about.get("id")),
        "guid": word(about.get("guid")).lower(),
        "name": word(about.get("name")),
        "level": level if isinstance(level, str) and level in LEVELS else None,
        "score": score if isinstance(score, int | float) else word(score),
        "title": word(written(about.get("shortDescription"))),
        "description": written(about.get("fullDescription"))[:10_000],
        "help_uri": word(about.get("helpUri")),
        "precision": word(properties.get("precision")),
        "tags": words(properties.get("tags"), MAX_TAGS),
        "weaknesses": words(properties.get("cwe"), MAX_TAGS),
        "owasp": words(properties.get("owasp"), MAX_TAGS),
        "taxa": [
            {key: value for key, value in table(link.get("target")).items() if key in _REFERENCE}
            for link in tables(about.get("relationships"), MAX_TAGS)
        ],
        "messages": templates(about.get("messageStrings")),
    }


class Rules:
    """The rules of one run, and the levels that its invocations gave them."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._store = run.store
        self._found = lru_cache(256)(self._find)
        self._levels = self._overrides()

    def of(self, result: Mapping[str, Any]) -> tuple[str, Rule | None]:
        """The rule's id as the result has it ("" for none), and the rule where it is known."""
        reference = table(result.get("rule"))
        rule_id = word(result.get("ruleId")) or word(reference.get("id"))
        place = index(result.get("ruleIndex"))
        place = index(reference.get("index")) if place is None else place
        component = self._run.component(reference.get("toolComponent")) if reference else None
        rule = self._found(rule_id, place, word(reference.get("guid")).lower(), component)
        return rule_id or (rule.id if rule else ""), rule

    def level(self, rule_id: str, rule: Rule, invocation: int | None) -> str | None:
        """The level that an invocation's configuration gave the rule."""
        if not self._levels:
            return None
        keys = ((invocation, key) for key in (rule.key, *_with_parents(rule_id)))
        return next((self._levels[key] for key in keys if key in self._levels), None)

    def _find(
        self, rule_id: str, place: int | None, guid: str, component: int | None
    ) -> Rule | None:
        run, store = self._run.number, self._store
        at_place = store.rule_at(run, component or 0, place) if place is not None else None
        if at_place and (not rule_id or at_place[1]["id"] in _with_parents(rule_id)):
            return self._rule(*at_place)
        named = store.rule_by_guid(run, guid) if guid else None
        for name in _with_parents(rule_id):
            named = named or store.rule_by_id(run, name, component)
        named = named or at_place  # an id that no rule has says less than the place beside it
        return self._rule(*named) if named else None

    def _rule(self, key: int, body: Mapping[str, Any]) -> Rule:
        tags = body["tags"]
        numbered = [*map(self._run.taxon, body["taxa"]), *body["weaknesses"], *tags]
        owasps = [*body["owasp"], *(tag for tag in tags if "owasp" in tag.lower())]
        return Rule(
            key=key,
            id=body["id"],
            name=body["name"],
            level=body["level"],
            score=body["score"],
            title=body["title"],
            description=body["description"],
            help_uri=body["help_uri"],
            confidence=_CONFIDENCE.get(body["precision"]),
            tags=tuple(tags),
            cwe_ids=tuple(distinct(cwe_ids(numbered), MAX_TAGS)),
            owasp_ids=tuple(distinct(owasp_ids(owasps), MAX_TAGS)),
            messages=body["messages"],
        )

    def _overrides(self) -> dict[tuple[int | None, int | str], str]:
        """Levels by (invocation, rule): None stands for results that name no invocation."""
        levels: dict[tuple[int | None, int | str], str] = {}
        for invocation, override in self._run.overrides:
            level = text(table(override.get("configuration")).get("level"))
            rule_id, rule = self.of({"rule": table(override.get("descriptor"))})
            if level in LEVELS:
                levels[invocation, rule.key if rule else rule_id] = level
                levels[None, rule.key if rule else rule_id] = level
        return levels


def _with_parents(rule_id: str) -> list[str]:
    """`a/b/c`, `a/b`, `a`: a rule's id may go on after a slash. [] for no id."""
    found = [rule_id] if rule_id else []
    while "/" in rule_id and len(found) < 10:
        rule_id = rule_id.rpartition("/")[0]
        found.append(rule_id)
    return found
