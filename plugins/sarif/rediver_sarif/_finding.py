"""From a SARIF result to a finding."""

import re
from collections.abc import Mapping
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
from rediver_sarif._values import array, bag, distinct, index, table, tables, text, word, words
from rediver_sarif._weaknesses import cwe_ids, owasp_ids

MAX_LOCATIONS: Final = 100
MAX_STEPS: Final = 500
_NO_PROBLEMS: Final = frozenset({"pass", "notApplicable", "informational"})
_CVE: Final = re.compile(r"\bCVE-\d{4}-\d{4,}\b", re.IGNORECASE)
_NO_RULE: Final = Rule()

Object = Mapping[str, Any]
Fields = dict[str, Any]


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
        rule_id, known = self._rules.of(result)
        rule = known or _NO_RULE
        message = self._said(result.get("message"), rule, None)
        about = self._about(result, rule_id, rule, message)
        redactor = None
        if about["type"] is FindingType.SECRET:
            redactor = self._redactor(result, rule_id, rule)
            message = self._said(result.get("message"), rule, redactor)
        title = details.title(rule, message) or rule_id or f"Finding of {self._tool}"
        about |= {
            "title": title,
            "severity": self._severity(result, kind, rule_id, known),
            "message": message or rule.description or title,
            "description": rule.description or None,
            "rule_id": rule_id or None,
            "rule_name": rule.name or None,
            "confidence": rule.confidence,
            "properties": self._properties(result, kind, masked=redactor is not None),
        }
        self._place(about, result, rule, redactor)
        self._add_what_tools_give(about, result, rule, redactor)
        return Finding.model_validate(about)

    def _about(self, result: Object, rule_id: str, rule: Rule, message: str) -> Fields:
        """What the finding is about: its type, its tags and its CWE, OWASP and CVE numbers."""
        properties = table(result.get("properties"))
        tags = words(properties.get("tags"), MAX_TAGS) if properties else []
        cwes, owasps = list(rule.cwe_ids), list(rule.owasp_ids)
        if properties or "taxa" in result:
            taxa = [self._run.taxon(taxon) for taxon in tables(result.get("taxa"), MAX_TAGS)]
            cwes += cwe_ids([*taxa, *words(properties.get("cwe"), MAX_TAGS), *tags])
            owasps += owasp_ids(words(properties.get("owasp"), MAX_TAGS))
        cwes = distinct(cwes or cwe_ids([rule_id, rule.title, message]), MAX_TAGS)
        cve = _CVE.search(rule_id)
        kind = finding_type(self._tool, rule_id, (*rule.tags, *tags, rule.name), cwes)
        about: Fields = {"type": kind, "tags": distinct([*rule.tags, *tags], MAX_TAGS)}
        if cwes or owasps or cve:
            number = cve[0].upper() if cve else None
            about["vulnerability"] = {"cve_id": number, "cwe_ids": cwes, "owasp_ids": owasps}
        if kind is FindingType.MISCONFIGURATION:
            about["misconfiguration"] = {"policy_id": rule_id or None}
        return about

    def _severity(self, result: Object, kind: str, rule_id: str, rule: Rule | None) -> Severity:
        level = result.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            invocation = index(table(result.get("provenance")).get("invocationIndex"))
            override = self._rules.level(rule_id, rule, invocation)
            level = "none" if kind != "fail" else override
        score = table(result.get("properties")).get("security-severity")
        if rule is None:
            return severity_from_sarif(score, level, None)
        return severity_from_sarif(rule.score if score is None else score, level, rule.level)

    def _place(self, about: Fields, result: Object, rule: Rule, redactor: Redactor | None) -> None:
        """Where it is, what belongs to it, and the way there."""
        locations = tables(result.get("locations"), MAX_LOCATIONS)
        main = next((place for place in locations if place.get("physicalLocation")), {})
        others = [place for place in locations if place is not main]
        others += tables(result.get("relatedLocations"), MAX_LOCATIONS)
        if place := self._locations.place(main, masked=redactor is not None):
            about["location"] = place
        if others and (related := self._steps(others[:MAX_LOCATIONS], rule, redactor)):
            about["related_locations"] = related
        if "codeFlows" in result and (flow := self._steps(self._flow(result), rule, redactor)):
            about["data_flow"] = flow

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

    def _steps(self, places: list[Object], rule: Rule, redactor: Redactor | None) -> list[Fields]:
        steps: list[Fields] = []
        for place in places:
            step = self._locations.place(place, masked=redactor is not None)
            if said := self._said(place.get("message"), rule, redactor):
                step["message"] = said
            if step:
                steps.append(step)
        return steps

    def _said(self, message: object, rule: Rule, redactor: Redactor | None) -> str:
        """A message's text; for a secret with nothing of it, its arguments neither."""
        if not message:
            return ""
        if redactor is None:
            return resolved(message, rule.messages, *self._strings)
        said = dict(table(message))
        said["arguments"] = [MASK] * len(array(said.get("arguments"))[:MAX_TAGS])
        return redactor(resolved(said, rule.messages, *self._strings))

    def _redactor(self, result: Object, rule_id: str, rule: Rule) -> Redactor:
        places = tables(result.get("locations"), MAX_LOCATIONS)
        paths = [self._locations.place(place, masked=True).get("path", "") for place in places]
        said = (rule_id, rule.name, rule.title, rule.description, rule.help_uri, self._tool)
        return Redactor(result, [*said, *paths, *details.commit(result).values()])

    def _add_what_tools_give(
        self, about: Fields, result: Object, rule: Rule, redactor: Redactor | None
    ) -> None:
        about["suppression"] = details.suppression(result.get("suppressions"), redactor)
        if redactor:
            about["partial_fingerprints"] = details.commit(result)
            about["references"] = [rule.help_uri] if rule.help_uri else []
            about["tags"] = [redactor(tag) for tag in about["tags"]]
            about["secret"] = {"secret_type": about["rule_id"], "masked_value": MASK}
            return
        about["partial_fingerprints"] = details.fingerprints(result)
        about["references"] = details.references(result, rule)
        about["remediation"] = details.remediation(result.get("fixes"))

    def _properties(self, result: Object, kind: str, *, masked: bool) -> Fields:
        """The tool's own properties (not those of a secret), and what else SARIF says."""
        main = next(iter(tables(result.get("locations"), 1)), {})
        logical = self._locations.logical(main) if "logicalLocations" in main else None
        said = {
            "kind": kind if kind != "fail" else None,
            "baselineState": word(result.get("baselineState")),
            "rank": result.get("rank"),
            "tool": self._tool if self._several else None,
            "uri": self._locations.address(main) if main else None,
            "logicalLocation": logical,
        }
        kept = dict(table(result.get("properties"))) if not masked else {}
        kept.pop("tags", None)
        if said := {key: value for key, value in said.items() if value}:
            kept["sarif"] = said
        return bag(kept) if kept else {}
