"""CWE and OWASP numbers in one spelling (`CWE-79`, `A03:2021`), from the many that tools write."""

import re
from collections.abc import Iterable
from typing import Final

_CWE: Final = re.compile(r"\bcwe[-_: ]?0*([1-9]\d{0,4})\b", re.IGNORECASE)
_OWASP: Final = re.compile(r"\bA(\d{1,2})(?:[:-](\d{4}))?\b", re.IGNORECASE)


def cwe_ids(texts: Iterable[str]) -> list[str]:
    """`external/cwe/cwe-079`, `CWE-79: Improper …`, `cwe:79`: all are `CWE-79`."""
    return [f"CWE-{number}" for text in texts for number in _CWE.findall(text)]


def owasp_ids(texts: Iterable[str]) -> list[str]:
    """`OWASP-A03:2021 - Injection` is `A03:2021`; without a year it stays without one."""
    found = (_OWASP.search(text) for text in texts)
    return [
        f"A{int(match[1]):02}" + (f":{match[2]}" if match[2] else "") for match in found if match
    ]
