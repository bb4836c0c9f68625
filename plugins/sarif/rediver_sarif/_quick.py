"""The findings of ordinary results, at a quarter of the cost.

An ordinary result has a rule, a text, one place with a line, and little else (`_plain`). What is
anything else is left to `Findings`, and a test holds that both find the same.
"""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from rediver_agent.contract import Finding, FindingType
from rediver_sarif import _details as details
from rediver_sarif._about import NOTHING, Own
from rediver_sarif._finding import Case, Fields, Findings, validated
from rediver_sarif._package import facts
from rediver_sarif._plain import Result
from rediver_sarif._rules import Named
from rediver_sarif._values import Object

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
        said = result.message.text
        if not 0 < len(said) <= _MAX_SAID or not _is_printable(said):
            return None
        if result.rule is UNSET:
            named = self._rules.plain(result.rule_id, result.rule_index)
        else:
            named = self._rules.of(_naming(result))
        known = self._known(named, result, said)
        if known is None:
            return None
        where = result.locations[0].physical_location
        place = self._locations.plain(where.artifact_location, where.region)
        if place is None:
            return None
        title = named.title or _first_line(said) or details.title(named.rule, said) or named.id
        fields = {**known, "message": said, "location": place}
        fields["title"] = title or f"Finding of {self._tool}"
        fields["severity"] = self._rules.plain_severity(named, result.level)
        if "](http" in said:
            fields["references"] = details.references(_NOTHING, named.rule, said)
        if result.fingerprints or result.partial_fingerprints:
            fields["partial_fingerprints"] = details.fingerprints(_identities(result))
        if result.code_flows is not UNSET or result.suppressions is not UNSET:
            self._add_rarer(fields, Case(_rarer(result), "fail", named, _NOTHING, []))
        if self._several:
            fields["properties"] = {"sarif": {"tool": self._tool}}
        return fields

    def _known(self, named: Named, result: Result, said: str) -> Object | None:
        """What is known of the matter before; None for a secret."""
        own = NOTHING
        if "ackage: " in said:
            own = Own(facts=facts(_NOTHING, said, []))
        if result.partial_fingerprints and details.is_of_a_secret(_identities(result)):
            return None
        if not named.rule.cwe_ids and "cwe" in said.lower():
            return None
        about = self._rules.about(named, own)
        return None if about.type is FindingType.SECRET else about.fields


def written_out(result: Result) -> Object:
    """The result as JSON has it."""
    return _decode(msgspec.json.encode(result))


def _naming(result: Result) -> dict[str, Any]:
    """What a result says of its rule."""
    said: dict[str, Any] = {"ruleId": result.rule_id, "ruleIndex": result.rule_index}
    return {**said, "rule": _decode(result.rule)} if isinstance(result.rule, Raw) else said


def _identities(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if result.partial_fingerprints:
        found["partialFingerprints"] = result.partial_fingerprints
    if result.fingerprints:
        found["fingerprints"] = result.fingerprints
    return found


def _rarer(result: Result) -> dict[str, Any]:
    pairs = (("codeFlows", result.code_flows), ("suppressions", result.suppressions))
    return {name: _decode(raw) for name, raw in pairs if isinstance(raw, Raw)}


def _first_line(said: str) -> str:
    """The first line of a text; "" where there is more to it than to take it."""
    line = said.partition("\n")[0]
    return "" if "[" in line or "]" in line else line.strip()


def _is_printable(said: str) -> bool:
    return said.isprintable() or said.replace("\n", "").isprintable()
