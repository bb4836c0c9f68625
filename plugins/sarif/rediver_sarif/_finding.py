"""From a SARIF result to a finding.

Called for every result of a report: what its rule alone decides is decided once (`_rules`), and
what a result does not have costs one look for its key.
"""

from dataclasses import dataclass
from typing import Any, Final

from rediver_agent import MASK
from rediver_agent.contract import Finding, FindingType
from rediver_sarif import _details as details
from rediver_sarif._about import NOTHING, Own
from rediver_sarif._location import Locations, offsets
from rediver_sarif._message import resolved
from rediver_sarif._package import NO_FACTS, facts, packages_among
from rediver_sarif._redaction import Redactor
from rediver_sarif._rule import MAX_TAGS
from rediver_sarif._rules import Named, Rules
from rediver_sarif._run import Run
from rediver_sarif._values import (
    Object,
    array,
    bag,
    index,
    score,
    table,
    tables,
    text,
    words,
)

MAX_LOCATIONS: Final = 100
MAX_STEPS: Final = 500
_NO_PROBLEMS: Final = frozenset({"pass", "notApplicable", "informational"})
_KEPT: Final = frozenset({"baselineState", "rank", "occurrenceCount"})
_NOTHING: Final[Object] = {}
validated: Final = Finding.__pydantic_validator__.validate_python  # without a frame for each

Fields = dict[str, Any]


@dataclass(slots=True)
class Case:
    """One result, and what was found out about it."""

    result: Object
    kind: str
    named: Named
    properties: Object
    locations: list[Object]
    redactor: Redactor | None = None  # for a secret: nothing of it may leave


class Findings:
    """The findings of one run. `several` is whether other runs of the report are of other tools."""

    def __init__(self, run: Run, *, several: bool) -> None:
        self._run = run
        self._tool = run.tool.name
        self._several = several
        self._rules = Rules(run)
        self._locations = Locations(run)
        self._strings = [part.strings for part in run.components if part.strings]

    def of(self, result: Object) -> Finding | None:
        """The finding; None for a result that says that there is no problem, or no longer one.

        Raises `pydantic.ValidationError` for what the contract does not take.
        """
        kind = (text(result["kind"]) or "fail") if "kind" in result else "fail"
        if kind in _NO_PROBLEMS or result.get("baselineState") == "absent":
            return None
        properties, locations = result.get("properties"), result.get("locations")
        case = Case(
            result,
            kind,
            self._rules.of(result),
            table(properties) if properties else _NOTHING,
            tables(locations, MAX_LOCATIONS) if locations else [],
        )
        return validated(self._fields(case))

    def _fields(self, case: Case) -> Fields:
        result, named = case.result, case.named
        message = self._said(result.get("message"), case)
        own = self._own(case, message)
        about = self._rules.about(named, own)
        fields = dict(about.fields)
        if about.type is FindingType.SECRET:
            message = self._hide(fields, case, message)
        else:
            fields["title"] = named.title or details.title(named.rule, message)
        title = fields["title"] = fields["title"] or named.id or f"Finding of {self._tool}"
        fields["message"] = message or fields.get("description") or title
        fields["severity"] = self._rules.severity(named, result, case.kind, own.score)
        address = self._place(fields, case)
        if properties := self._properties(fields, case, address):
            fields["properties"] = properties
        self._add_what_tools_give(fields, case)
        return fields

    def _add_rarer(self, fields: Fields, case: Case) -> None:
        """What most results do not have."""
        result = case.result
        if "codeFlows" in result and (flow := self._steps(self._flow(result), case)):
            fields["data_flow"] = flow
        if "suppressions" in result:
            accepted = details.suppression(result["suppressions"], case.redactor)
            fields["suppression"] = accepted
        if "fixes" in result and not case.redactor:
            fields["remediation"] = details.remediation(result["fixes"])

    def _hide(self, fields: Fields, case: Case, message: str) -> str:
        """What is said of a secret, without it. Returns the message."""
        case.redactor = redactor = self._redactor(case)
        message = self._said(case.result.get("message"), case)
        fields["title"] = redactor(details.title(case.named.rule, message))
        if "description" in fields:
            fields["description"] = redactor(fields["description"])
        fields["tags"] = [redactor(tag) for tag in fields["tags"]]
        return message

    def _own(self, case: Case, message: str) -> Own:
        """What the result adds to what its rule says of the matter."""
        result, properties = case.result, case.properties
        # Only where the rule names none: `lower` is slow on text that is not ASCII.
        cwe = message if not case.named.rule.cwe_ids and "cwe" in message.lower() else ""
        secret = details.is_of_a_secret(table(result.get("partialFingerprints")))
        addresses = packages_among(case.locations)
        told = facts(properties, message, addresses)
        if not (properties or cwe or secret or told is not NO_FACTS or "taxa" in result):
            return NOTHING
        taxa = [self._run.taxon(taxon) for taxon in tables(result.get("taxa"), MAX_TAGS)]
        return Own(
            tags=tuple(words(properties.get("tags"), MAX_TAGS)),
            weaknesses=(*taxa, *words(properties.get("cwe"), MAX_TAGS)),
            owasps=tuple(words(properties.get("owasp"), MAX_TAGS)),
            words=cwe,
            of_a_secret=secret,
            score=score(properties.get("security-severity")),
            facts=told,
        )

    def _place(self, fields: Fields, case: Case) -> str | None:
        """Where it is, what belongs to it, and the way there. Returns the address as written."""
        result, locations = case.result, case.locations
        main = next((place for place in locations if "physicalLocation" in place), None)
        if "relatedLocations" in result or len(locations) > 1 or not main:
            others = [place for place in locations if place is not main and _is_told(place)]
            self._add_related(fields, case, others)
        if main is None:
            if "analysisTarget" not in result:
                return None
            main = {"physicalLocation": {"artifactLocation": result["analysisTarget"]}}
        place, address = self._placed(main, case)
        if place:
            fields["location"] = place
        return address

    def _add_related(self, fields: Fields, case: Case, others: list[Object]) -> None:
        others += tables(case.result.get("relatedLocations"), MAX_LOCATIONS)
        if related := self._steps(others[:MAX_LOCATIONS], case):
            fields["related_locations"] = related

    def _placed(self, location: Object, case: Case) -> tuple[Fields, str | None]:
        """A place; of the source of a secret nothing is left but the mark."""
        place, address = self._locations.place(location)
        if case.redactor and "snippet" in place:
            place["snippet"] = MASK
        return place, address

    def _flow(self, result: Object) -> list[Object]:
        """The locations of the first code flow that has any: others are other ways to the same."""
        for flow in tables(result.get("codeFlows"), MAX_LOCATIONS):
            steps = [
                step
                for thread in tables(flow.get("threadFlows"), MAX_LOCATIONS)
                for step in tables(thread.get("locations"), MAX_STEPS)
            ][:MAX_STEPS]
            if steps:
                return [table(self._step(step).get("location")) for step in steps]
        return []

    def _step(self, step: Object) -> Object:
        if "location" in step:
            return step
        return self._run.part("threadFlowLocations", index(step.get("index")))

    def _steps(self, places: list[Object], case: Case) -> list[Fields]:
        steps: list[Fields] = []
        for place in places:
            step, _ = self._placed(place, case)
            said = self._said(place["message"], case) if "message" in place else ""
            if not said and not step and (name := self._locations.logical(place)):
                said = case.redactor(name) if case.redactor else name
            if said:
                step["message"] = said
            if step:
                steps.append(step)
        return steps

    def _said(self, message: object, case: Case) -> str:
        """A message's text; for a secret with nothing of it, nor of its arguments."""
        if not message:
            return ""
        if case.redactor is None:
            return resolved(message, case.named.rule.messages, *self._strings)
        said = dict(table(message))
        said["arguments"] = [MASK] * len(array(said.get("arguments")))
        return case.redactor(resolved(said, case.named.rule.messages, *self._strings))

    def _redactor(self, case: Case) -> Redactor:
        rule = case.named.rule
        said = (case.named.id, rule.name, rule.title, rule.help_uri, self._tool)
        places = (self._locations.place(place)[0] for place in case.locations)
        paths = [str(place.get("path", "")) for place in places]
        return Redactor(case.result, [*said, *paths, *details.commit(case.result).values()])

    def _properties(self, fields: Fields, case: Case, address: str | None) -> Fields:
        """The tool's own properties (not those of a secret), and what else SARIF says."""
        result, said = case.result, dict[str, Any]()
        if case.kind != "fail":
            said["kind"] = case.kind
        if self._several:
            said["tool"] = self._tool
        if address:
            said["uri"] = address
        if not _KEPT.isdisjoint(result):
            said |= {key: bag(result[key]) for key in sorted(_KEPT) if key in result}
        for location in case.locations[:1]:
            if "logicalLocations" in location and (name := self._locations.logical(location)):
                said["logicalLocation"] = name
            if "start_line" not in fields.get("location", ()) and (at := offsets(location)):
                said["region"] = at
        if not case.properties and not said:
            return said
        own: Fields = bag(case.properties) if case.properties and not case.redactor else {}
        own.pop("tags", None)
        return {**own, "sarif": said} if said else own

    def _add_what_tools_give(self, fields: Fields, case: Case) -> None:
        result, redactor = case.result, case.redactor
        self._add_rarer(fields, case)
        if redactor:
            fields["partial_fingerprints"] = details.commit(result)
            fields["references"] = list(filter(None, [case.named.rule.help_uri]))
            return
        if "partialFingerprints" in result or "fingerprints" in result:
            fields["partial_fingerprints"] = details.fingerprints(result)
        fields["references"] = details.references(result, case.named.rule, fields["message"])


def _is_told(location: Object) -> bool:
    """Whether it says more than a name, which is in the properties."""
    return "physicalLocation" in location or "message" in location
