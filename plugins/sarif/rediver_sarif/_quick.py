"""The findings of ordinary results, at a third of the cost.

An ordinary result has a rule, a text, one place with a line, and little else: nearly all of them,
in nearly every report. What is anything else, by a key, a type or a length, is left to `Findings`,
and a test holds that both find the same.
"""

from typing import Any, Final

from rediver_agent.contract import Finding, FindingType
from rediver_sarif import _details as details
from rediver_sarif._about import NOTHING, Own
from rediver_sarif._finding import Case, Fields, Findings, validated
from rediver_sarif._package import facts
from rediver_sarif._rules import Named
from rediver_sarif._values import Object, array, table

_WHAT: Final = frozenset({"ruleId", "ruleIndex", "rule", "level", "message"})
_MORE: Final = frozenset({"fingerprints", "partialFingerprints", "properties", "suppressions"})
_RESULT: Final = _WHAT | _MORE | {"locations", "codeFlows"}
_LOCATION: Final = frozenset({"id", "physicalLocation", "message"})
_MAX_SAID: Final = 1000
_NOTHING: Final[Object] = {}


class QuickFindings(Findings):
    """The same findings."""

    def of(self, result: Object) -> Finding | None:
        fields = self.ordinary(result) if result.keys() <= _RESULT else None
        return super().of(result) if fields is None else validated(fields)

    def ordinary(self, result: Object) -> Fields | None:
        """The fields of an ordinary result, None for another."""
        message, places = table(result.get("message")), array(result.get("locations"))
        if len(message) != 1 or len(places) != 1 or result.get("properties"):
            return None
        said, level = message.get("text"), result.get("level")
        if type(said) is not str or not 0 < len(said) <= _MAX_SAID or not _is_printable(said):
            return None
        if level is not None and type(level) is not str:
            return None
        named = self._rules.of(result)
        known = self._known(named, result, said)
        place = self._ordinary_place(places[0])
        if known is None or place is None:
            return None
        title = named.title or _first_line(said) or details.title(named.rule, said) or named.id
        fields = {**known, "message": said, "location": place}
        fields["title"] = title or f"Finding of {self._tool}"
        fields["severity"] = self._rules.severity(named, result, "fail", None)
        if "](http" in said:
            fields["references"] = details.references(result, named.rule, said)
        if "fingerprints" in result or "partialFingerprints" in result:
            fields["partial_fingerprints"] = details.fingerprints(result)
        if "codeFlows" in result or "suppressions" in result:
            self._add_rarer(fields, Case(result, "fail", named, _NOTHING, []))
        if self._several:
            fields["properties"] = {"sarif": {"tool": self._tool}}
        return fields

    def _known(self, named: Named, result: Object, said: str) -> Object | None:
        """What is known of the matter before; None for a secret."""
        own = NOTHING
        if "ackage: " in said:
            own = Own(facts=facts(_NOTHING, said, []))
        if "partialFingerprints" in result and details.is_of_a_secret(result):
            return None
        if not named.rule.cwe_ids and "cwe" in said.lower():
            return None
        about = self._rules.about(named, own)
        return None if about.type is FindingType.SECRET else about.fields

    def _ordinary_place(self, location: Any) -> Fields | None:
        """A place with a line."""
        where = table(location)
        if not where.keys() <= _LOCATION:
            return None
        found, address = self._locations.place(where)
        return None if address or "start_line" not in found else found


def _first_line(said: str) -> str:
    """The first line of a text; "" where there is more to it than to take it."""
    line = said.partition("\n")[0]
    return "" if "[" in line or "]" in line else line.strip()


def _is_printable(said: str) -> bool:
    return said.isprintable() or said.replace("\n", "").isprintable()
