"""From a SARIF result to a finding."""

import re
from dataclasses import dataclass
from typing import Any, Final

from rediver_agent import MASK, severity_from_sarif
from rediver_agent.contract import Finding, FindingType, Severity
from rediver_sarif import _details as details
from rediver_sarif._location import Locations
from rediver_sarif._message import resolved
from rediver_sarif._redaction import Redactor
from rediver_sarif._rule import LEVELS, MAX_TAGS, Rule, Rules
from rediver_sarif._run import Run
from rediver_sarif._types import finding_type
from rediver_sarif._values import (
    Object,
    array,
    bag,
    distinct,
    index,
    table,
    tables,
    text,
    words,
)
from rediver_sarif._weaknesses import cwe_ids, owasp_ids

MAX_LOCATIONS: Final = 100
MAX_STEPS: Final = 500
_NO_PROBLEMS: Final = frozenset({"pass", "notApplicable", "informational"})
_CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,}\b", re.IGNORECASE)
_NO_RULE: Final = Rule()

Fields = dict[str, Any]


@dataclass(slots=True)
class _Case:
    """One result, and what was found out about it."""

    result: Object
    properties: Object
    locations: list[Object]
    kind: str
    rule_id: str
    rule: Rule
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
        kind = text(result.get("kind")) or "fail"
        if kind in _NO_PROBLEMS or result.get("baselineState") == "absent":
            return None
        rule_id, rule = self._rules.of(result)
        case = _Case(
            result=result,
            properties=table(result.get("properties")),
            locations=tables(result.get("locations"), MAX_LOCATIONS),
            kind=kind,
            rule_id=rule_id,
            rule=rule or _NO_RULE,
        )
        return Finding.model_validate(self._fields(case))

    def _fields(self, case: _Case) -> Fields:
        rule = case.rule
        message = self._said(case.result.get("message"), case)
        fields, description = self._about(case, message), rule.description
        title = details.title(rule, message)
        if fields["type"] is FindingType.SECRET:
            case.redactor = redactor = self._redactor(case)
            message = self._said(case.result.get("message"), case)
            description, title = redactor(description), redactor(details.title(rule, message))
        fields["title"] = title = title or case.rule_id or f"Finding of {self._tool}"
        fields["message"] = message or description or title
        fields["severity"] = self._severity(case)
        fields["description"] = description or None
        fields["rule_id"] = case.rule_id or None
        fields["rule_name"] = rule.name or None
        fields["confidence"] = rule.confidence
        address = self._place(fields, case)
        if properties := self._properties(case, address):
            fields["properties"] = properties
        self._add_what_tools_give(fields, case)
        return fields

    def _about(self, case: _Case, message: str) -> Fields:
        """What the finding is about: its type, its tags and its CWE, OWASP and CVE numbers."""
        rule, tags = case.rule, case.rule.tags
        cwes, owasps = rule.cwe_ids, rule.owasp_ids
        if case.properties or "taxa" in case.result:
            own = words(case.properties.get("tags"), MAX_TAGS)
            taxa = [self._run.taxon(taxon) for taxon in tables(case.result.get("taxa"), MAX_TAGS)]
            named = [*taxa, *words(case.properties.get("cwe"), MAX_TAGS), *own]
            tags = distinct([*tags, *own], MAX_TAGS)
            cwes = distinct([*cwes, *cwe_ids(named)], MAX_TAGS)
            owasps = distinct(
                [*owasps, *owasp_ids(words(case.properties.get("owasp"), MAX_TAGS))], MAX_TAGS
            )
        cwes = cwes or distinct(cwe_ids([case.rule_id, rule.title, message]), MAX_TAGS)
        cve = _CVE.search(case.rule_id)
        labels = (*tags, rule.name, *details.fingerprint_labels(case.result))
        kind = finding_type(self._tool, case.rule_id, labels, tuple(cwes))
        fields: Fields = {"type": kind, "tags": list(tags)}
        if cwes or owasps or cve:
            number = cve[0].upper() if cve else None
            fields["vulnerability"] = {
                "cve_id": number,
                "cwe_ids": list(cwes),
                "owasp_ids": list(owasps),
            }
        if kind is FindingType.MISCONFIGURATION:
            fields["misconfiguration"] = {"policy_id": case.rule_id or None}
        return fields

    def _severity(self, case: _Case) -> Severity:
        level = case.result.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            invocation = index(table(case.result.get("provenance")).get("invocationIndex"))
            override = self._rules.level(case.rule_id, case.rule, invocation)
            level = "none" if case.kind != "fail" else override
        score = case.properties.get("security-severity", case.rule.score)
        return severity_from_sarif(score, level, case.rule.level)

    def _place(self, fields: Fields, case: _Case) -> str | None:
        """Where it is, what belongs to it, and the way there. Returns the address as written."""
        main = next((place for place in case.locations if "physicalLocation" in place), None)
        others = [place for place in case.locations if place is not main]
        others += tables(case.result.get("relatedLocations"), MAX_LOCATIONS)
        if others and (related := self._steps(others[:MAX_LOCATIONS], case)):
            fields["related_locations"] = related
        if "codeFlows" in case.result and (flow := self._steps(self._flow(case.result), case)):
            fields["data_flow"] = flow
        if main is None:
            return None
        place, address = self._locations.place(main, masked=case.redactor is not None)
        if place:
            fields["location"] = place
        return address

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

    def _steps(self, places: list[Object], case: _Case) -> list[Fields]:
        steps: list[Fields] = []
        for place in places:
            step, _ = self._locations.place(place, masked=case.redactor is not None)
            if said := self._said(place.get("message"), case):
                step["message"] = said
            if step:
                steps.append(step)
        return steps

    def _said(self, message: object, case: _Case) -> str:
        """A message's text; for a secret with nothing of it, nor of its arguments."""
        if not message:
            return ""
        if case.redactor is None:
            return resolved(message, case.rule.messages, *self._strings)
        said = dict(table(message))
        said["arguments"] = [MASK] * len(array(said.get("arguments")))
        return case.redactor(resolved(said, case.rule.messages, *self._strings))

    def _redactor(self, case: _Case) -> Redactor:
        rule = case.rule
        said = (case.rule_id, rule.name, rule.title, rule.help_uri, self._tool)
        places = (self._locations.place(place, masked=True)[0] for place in case.locations)
        paths = [str(place.get("path", "")) for place in places]
        return Redactor(case.result, [*said, *paths, *details.commit(case.result).values()])

    def _properties(self, case: _Case, address: str | None) -> Fields:
        """The tool's own properties (not those of a secret), and what else SARIF says."""
        said: Fields = {}
        if case.kind != "fail":
            said["kind"] = case.kind
        if self._several:
            said["tool"] = self._tool
        if address:
            said["uri"] = address
        for key in ("baselineState", "rank"):
            if key in case.result:
                said[key] = bag(case.result[key])
        if logical := self._locations.logical(case.locations):
            said["logicalLocation"] = logical
        own: Fields = bag(case.properties) if case.redactor is None else {}
        own.pop("tags", None)
        return {**own, "sarif": said} if said else own

    def _add_what_tools_give(self, fields: Fields, case: _Case) -> None:
        result, redactor = case.result, case.redactor
        if "suppressions" in result:
            fields["suppression"] = details.suppression(result["suppressions"], redactor)
        if redactor:
            fields["partial_fingerprints"] = details.commit(result)
            fields["references"] = [case.rule.help_uri] if case.rule.help_uri else []
            fields["tags"] = [redactor(tag) for tag in fields["tags"]]
            fields["secret"] = {"secret_type": case.rule_id or None, "masked_value": MASK}
            return
        fields["partial_fingerprints"] = details.fingerprints(result)
        fields["references"] = details.references(result, case.rule)
        if "fixes" in result:
            fields["remediation"] = details.remediation(result["fixes"])
