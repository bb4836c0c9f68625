"""Generated reports of any size, each in the shape of its tool: what the parsers are measured on.

They are written piece by piece, the same each time: a gigabyte takes no memory here either.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

One = Callable[[int], dict[str, Any]]

_TEXT: Final = 'user data flows into a call "without" validation: use é, 漢字 or {braces}; '
_RULES: Final = [
    {
        "id": f"rule-{n}",
        "defaultConfiguration": {"level": ("note", "warning", "error")[n % 3]},
        "fullDescription": {"text": _TEXT * 3},
        "properties": {"tags": [f"CWE-{20 + n}: a weakness", "security"]},
    }
    for n in range(300)
]
_TOOL: Final = {"driver": {"name": "bench", "rules": _RULES}}


def _sarif(n: int) -> dict[str, Any]:
    region = {"startLine": 1 + n % 4000, "snippet": {"text": f"value = {n}\n" * 4}}
    place = {"artifactLocation": {"uri": f"src/module_{n % 400}.py"}, "region": region}
    flow = {"threadFlows": [{"locations": [{"location": {"physicalLocation": place}}] * 3}]}
    return {
        **({"codeFlows": [flow]} if n % 10 == 0 else {}),
        "fingerprints": {"bench/v1": f"{n:064x}"},
        "locations": [{"physicalLocation": place}],
        "message": {"text": _TEXT * 2},
        "ruleId": f"rule-{n % 300}",
    }


def _semgrep(n: int) -> dict[str, Any]:
    line = 1 + n % 4000
    extra = {
        "message": _TEXT * 2,
        "severity": ("INFO", "WARNING", "ERROR")[n % 3],
        "metadata": {"cwe": ["CWE-89: SQL Injection"], "confidence": "HIGH"},
        "lines": f"value = {n}",
        "fingerprint": "requires login",
    }
    return {
        "check_id": f"rules.rule-{n % 300}",
        "path": f"src/module_{n % 400}.py",
        "start": {"line": line, "col": 5, "offset": n},
        "end": {"line": line, "col": 40, "offset": n + 35},
        "extra": extra,
    }


def _trivy(n: int) -> dict[str, Any]:
    return {
        "VulnerabilityID": f"CVE-2024-{n % 90_000:05}",
        "PkgName": f"lib{n}",
        "InstalledVersion": "1.0.0",
        "FixedVersion": "1.0.1",
        "Severity": ("LOW", "MEDIUM", "HIGH", "CRITICAL")[n % 4],
        "Title": _TEXT,
        "Description": _TEXT * 6,
        "References": [f"https://example.org/{n}/{m}" for m in range(4)],
        "CweIDs": ["CWE-79"],
        "CVSS": {"nvd": {"V3Score": 7.5}},
    }


def _gitleaks(n: int) -> dict[str, Any]:
    return {
        "RuleID": f"key-{n % 100}",
        "Description": "An API key",
        "StartLine": 1 + n % 4000,
        "EndLine": 1 + n % 4000,
        "StartColumn": 5,
        "EndColumn": 45,
        "Match": f"key = '{n:040x}'",
        "Secret": f"{n:040x}",
        "File": f"src/module_{n % 400}.py",
        "Commit": f"{n:040x}",
        "Message": _TEXT,
        "Tags": [],
        "Fingerprint": f"{n:040x}:src:{n}",
    }


_SARIF: Final = {"version": "2.1.0", "runs": [{"results": [], "tool": _TOOL}]}
_RULES_FIRST: Final = {"version": "2.1.0", "runs": [{"tool": _TOOL, "results": []}]}
_SEMGREP: Final = {"version": "1.182.0", "results": [], "errors": [], "paths": {"scanned": []}}
_FOUND: Final = {"Target": "app", "Class": "lang-pkgs", "Type": "pip", "Vulnerabilities": []}
_TRIVY: Final = {
    "SchemaVersion": 2,
    "ArtifactName": "app",
    "ArtifactType": "filesystem",
    "Results": [_FOUND],
}

# Of what parser, the document around its findings, the list they are in, one of them, the indent.
SHAPES: Final[dict[str, tuple[str, Any, str, One, int | None]]] = {
    "sarif, rules last": ("sarif", _SARIF, '"results":[', _sarif, None),
    "sarif, rules first": ("sarif", _RULES_FIRST, '"results":[', _sarif, None),
    "sarif, indented": ("sarif", _SARIF, '"results": [', _sarif, 2),
    "semgrep": ("semgrep", _SEMGREP, '"results":[', _semgrep, None),
    "trivy, indented": ("trivy", _TRIVY, '"Vulnerabilities": [', _trivy, 2),
    "gitleaks, indented": ("gitleaks", [], "[", _gitleaks, 1),
}


def write(shape: str, path: Path, megabytes: float) -> int:
    """A report of that shape and size. Returns how many findings it has."""
    _, document, opening, one, indent = SHAPES[shape]

    def text(value: Any) -> str:
        separators = None if indent else (",", ":")
        return json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)

    before, mark, after = text(document).partition(opening)
    count = 0
    with path.open("wb") as out:
        out.write((before + mark).encode())
        while out.tell() < megabytes * 1_000_000:
            out.write(("," * bool(count) + "\n" * bool(indent) + text(one(count))).encode())
            count += 1
        out.write(after.encode())
    return count
