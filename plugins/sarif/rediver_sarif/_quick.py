"""The findings of ordinary results, at a quarter of the cost.

An ordinary result has a rule, a text, one place with a line, and little else (`_plain`). What is
anything else is left to `Findings`, and a test holds that both find the same.
"""

from itertools import chain
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from rediver_agent.contract import Finding, FindingType
from rediver_sarif import _details as details
from rediver_sarif._about import Own
from rediver_sarif._finding import MAX_LOCATIONS, MAX_STEPS, Case, Fields, Findings, validated
from rediver_sarif._package import facts
from rediver_sarif._plain import Flow, Place, Result, flows, places
from rediver_sarif._rules import Named
from rediver_sarif._values import Object, text

_MAX_SAID: Final = 1000
_NOTHING: Final[Object] = {}
_decode: Final = msgspec.json.Decoder().decode


class QuickFindings(Findings):
    """The same findings."""

    def of_plain(self, result: Result) -> Finding | None:
        """The finding of an ordinary result; of one that only looks so, the thorough way."""
        fields = self.ordinary(result)
        return self.of(written_out(result)) if fields is None else validated(fields)

    def ordinary(self, result: Result) -> Fields | None:
        """The fields of an ordinary result, None for another."""
        said = line = result.message.text
        if not said.isprintable():
            if not said.replace("\n", "").isprintable():
                return None
            line = said.partition("\n")[0]
        if not 0 < len(said) <= _MAX_SAID:
            return None
        if result.rule is UNSET:
            named = self._rules.plain(result.rule_id, result.rule_index)
        else:
            named = self._rules.of(_naming(result))
        fields = self._known(named, result, said)
        if fields is None:
            return None
        place, address = self._locations.plain(result.locations[0].physical_location)
        if address:
            return None
        fields["message"] = said
        fields["location"] = place
        title = named.title or ("" if "[" in line or "]" in line else line.strip())
        title = title or details.title(named.rule, said) or named.id
        fields["title"] = title or f"Finding of {self._tool}"
        if "](http" in said:
            fields["references"] = details.references(_NOTHING, named.rule, said)
        if result.fingerprints or result.partial_fingerprints:
            given = result.partial_fingerprints or _NOTHING, result.fingerprints or _NOTHING
            fields["partial_fingerprints"] = details.identities(*given)
        if (result.code_flows, result.related_locations, result.suppressions) != _NONE:
            self._add_what_is_rare(fields, result, named)
        if self._several:
            fields["properties"] = {"sarif": {"tool": self._tool}}
        return fields

    def _known(self, named: Named, result: Result, said: str) -> Fields | None:
        """What is known of the matter before; None for a secret."""
        level = result.level
        common = named.commons.get(level) or self._rules.common(named, level)
        if common is None:
            return None
        partial = result.partial_fingerprints
        if partial and details.is_of_a_secret(partial):
            return None
        if not named.rule.cwe_ids and "cwe" in said.lower():
            return None
        if "ackage: " not in said:
            return dict(common)
        about = self._rules.about(named, Own(facts=facts(_NOTHING, said, [])))
        severity = common["severity"]
        return None if about.type is FindingType.SECRET else {**about.fields, "severity": severity}

    def _add_what_is_rare(self, fields: Fields, result: Result, named: Named) -> None:
        """The way there, what belongs to it, and whether its source accepts it."""
        left: dict[str, Any] = {}
        if isinstance(raw := result.code_flows, Raw):
            if (way := flows(raw)) is None:
                left["codeFlows"] = _decode(raw)
            elif steps := self._plain_steps(_first(way)):
                fields["data_flow"] = steps
        if isinstance(raw := result.related_locations, Raw):
            if (others := places(raw)) is None:
                left["relatedLocations"] = _decode(raw)
            elif related := self._plain_steps(others[:MAX_LOCATIONS]):
                fields["related_locations"] = related
        if isinstance(raw := result.suppressions, Raw):
            left["suppressions"] = _decode(raw)
        if left:
            case = Case(left, "fail", named, _NOTHING, [])
            self._add_rarer(fields, case)
            if "relatedLocations" in left:
                self._add_related(fields, case, [])

    def _plain_steps(self, steps: list[Place]) -> list[Fields]:
        found: list[Fields] = []
        for place in steps:
            step, _ = self._locations.plain(place.physical_location)
            if place.message and (said := text(place.message.text)):
                step["message"] = said
            found.append(step)
        return found


_NONE: Final = (UNSET, UNSET, UNSET)


def written_out(result: Result) -> Object:
    """The result as JSON has it."""
    return _decode(msgspec.json.encode(result))


def _naming(result: Result) -> dict[str, Any]:
    """What a result says of its rule."""
    said: dict[str, Any] = {"ruleId": result.rule_id, "ruleIndex": result.rule_index}
    return {**said, "rule": _decode(result.rule)} if isinstance(result.rule, Raw) else said


def _first(way: list[Flow]) -> list[Place]:
    """The places of the first flow that has any."""
    for flow in way[:MAX_LOCATIONS]:
        threads = flow.thread_flows[:MAX_LOCATIONS]
        steps = [*chain.from_iterable(thread.locations[:MAX_STEPS] for thread in threads)]
        if steps:
            return [step.location for step in steps[:MAX_STEPS]]
    return []
