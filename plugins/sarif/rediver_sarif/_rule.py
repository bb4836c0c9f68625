"""Rules: what is kept of a `reportingDescriptor` until its results come, and what is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rediver_sarif._message import addresses, templates, written
from rediver_sarif._package import NO_FACTS, Facts, Package, facts
from rediver_sarif._values import distinct, score, table, tables, text, word, words
from rediver_sarif._weaknesses import cwe_ids, owasp_ids

MAX_TAGS: Final = 50
LEVELS: Final = frozenset({"error", "warning", "note", "none"})
_MAX_LINKS: Final = 10
_MAX_HELP: Final = 10_000
_REFERENCE: Final = frozenset({"id", "index", "guid", "toolComponent"})
_CONFIDENCE: Final = {"very-high": 95, "high": 80, "medium": 60, "low": 30}

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule, ready for its results."""

    key: int = 0
    id: str = ""
    name: str = ""
    level: str | None = None
    score: float | None = None
    title: str = ""
    description: str = ""
    help_uri: str = ""
    links: tuple[str, ...] = ()  # its page, and those that its help names
    confidence: int | None = None
    tags: tuple[str, ...] = ()
    cwe_ids: tuple[str, ...] = ()
    owasp_ids: tuple[str, ...] = ()
    facts: Facts = NO_FACTS
    messages: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def headline(self) -> str:
        """Its title, if that says more than its id."""
        return "" if self.id and self.title.endswith(self.id) else self.title


def kept(descriptor: object) -> dict[str, Any]:
    """What is stored of a descriptor: bounded, whatever it holds."""
    about = table(descriptor)
    properties = table(about.get("properties"))
    level = table(about.get("defaultConfiguration")).get("level")
    advice = table(about.get("help"))
    said = text(advice.get("text"), _MAX_HELP)
    page = word(about.get("helpUri"))
    linked = addresses(text(advice.get("markdown"), _MAX_HELP) or said, _MAX_LINKS)
    return {
        "id": word(about.get("id")),
        "guid": word(about.get("guid")).lower(),
        "name": word(about.get("name")),
        "level": level if isinstance(level, str) and level in LEVELS else None,
        "score": score(properties.get("security-severity")),
        "title": word(written(about.get("shortDescription"))),
        "description": written(about.get("fullDescription"))[:10_000],
        "help_uri": page,
        "links": distinct(filter(None, [page, *linked]), _MAX_LINKS),
        "precision": word(properties.get("precision")),
        "tags": words(properties.get("tags"), MAX_TAGS),
        "weaknesses": words(properties.get("cwe"), MAX_TAGS),
        "owasp": words(properties.get("owasp"), MAX_TAGS),
        "taxa": [
            {key: value for key, value in table(link.get("target")).items() if key in _REFERENCE}
            for link in tables(about.get("relationships"), MAX_TAGS)
        ],
        "facts": facts(properties, said, []),
        "messages": templates(about.get("messageStrings")),
    }


def made(key: int, body: Body, taxa: list[str]) -> Rule:
    """The rule of a stored descriptor. `taxa` are the names of what it is related to."""
    tags = body["tags"]
    numbered = [*taxa, *body["weaknesses"], *tags]
    owasps = [*body["owasp"], *(tag for tag in tags if "owasp" in tag.lower())]
    package, *others = body["facts"]
    return Rule(
        key=key,
        id=body["id"],
        name=body["name"],
        level=body["level"],
        score=body["score"],
        title=body["title"],
        description=body["description"],
        help_uri=body["help_uri"],
        links=tuple(body["links"]),
        confidence=_CONFIDENCE.get(body["precision"]),
        tags=tuple(tags),
        cwe_ids=tuple(distinct(cwe_ids(numbered), MAX_TAGS)),
        owasp_ids=tuple(distinct(owasp_ids(owasps), MAX_TAGS)),
        facts=Facts(Package(*package[:-1], fixed=tuple(package[-1])), *others),
        messages=body["messages"],
    )
