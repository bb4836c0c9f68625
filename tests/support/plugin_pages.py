"""Writes the reference pages of plugins' options and of findings, from the code's own models."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from rediver_agent.contract import findings
from rediver_agent.plugin_manager import load_plugins
from rediver_agent.registry import build_registry
from rediver_agent.severity import known_words, severity_from_score

_PARTS: Final = (
    ("Finding", findings.Finding),
    ("Location, and the places of `related_locations` and `data_flow`", findings.RelatedLocation),
    ("Vulnerability", findings.Vulnerability),
    ("Secret", findings.Secret),
    ("Misconfiguration", findings.Misconfiguration),
    ("Remediation", findings.Remediation),
    ("Suppression", findings.Suppression),
)
_SCORES: Final = ("9.0", "7.0", "4.0", "0.1", "0")

# What each field means, and who fills it. `all` are semgrep, trivy, gitleaks, github, webhook
# (which is github's), sarif and, where the mapping or the report says so, json.
FIELDS: Final = {
    "type": ("What it is a finding of.", "all"),
    "title": ("One line that names it.", "all"),
    "severity": ("One of five; the table is below.", "all"),
    "description": ("What the matter is in general.", "all"),
    "message": ("What was found here, in the tool's words.", "semgrep, trivy, github, sarif, json"),
    "rule_id": ("Rule, check, advisory or licence, by the tool's own id.", "all"),
    "rule_name": ("Its name for people.", "semgrep, trivy, github, sarif, json"),
    "confidence": ("How sure the tool is, 0 to 100.", "semgrep, trivy (licences), sarif, json"),
    "fingerprint": ("Its identity from scan to scan; below.", "the agent"),
    "partial_fingerprints": ("Identities of the tool's own.", "semgrep, trivy, github, sarif, json"),
    "asset_ref": ("The `id` of the report's asset that it is in.", "the agent"),
    "location": ("Where it is.", "all"),
    "related_locations": ("What else belongs to it: callers of a module.", "trivy, sarif, json"),
    "data_flow": ("The way from source to sink.", "semgrep, sarif, json"),
    "vulnerability": ("Weakness, advisory and package.", "all"),
    "secret": ("What kind of secret; never the secret.", "trivy, gitleaks, semgrep, github, sarif, json"),
    "misconfiguration": ("Which check of which resource.", "trivy, sarif, json"),
    "remediation": ("What to do.", "semgrep, trivy, github, sarif, json"),
    "references": ("Addresses to read on.", "all"),
    "tags": ("Words of the rule; other ids of an advisory.", "all"),
    "suppression": ("That its source accepts it: kept, but neither gates nor counts.", "all"),
    "status": ("For what is over where it came from.", "github, sarif"),
    "properties": ("What else the tool knows, by its own names.", "all"),
    "path": ("The file, relative to the asset. In an image's archive `a.tar!/etc/passwd`.", "all"),
    "start_line": ("From 1.", "all, where the tool tells"),
    "end_line": ("The last line, itself included.", "all, where the tool tells"),
    "start_column": ("From 1, in code points.", "semgrep, gitleaks, github, sarif, json"),
    "end_column": ("The column after the last.", "semgrep, gitleaks, github, sarif, json"),
    "snippet": ("The lines, with secrets masked.", "the tool; else the agent quotes the source"),
    "message of a place": ("What is there.", "semgrep, trivy, sarif, json"),
    "cve_id": ("The CVE number, also if the advisory goes by another.", "semgrep, trivy, github, sarif, json"),
    "cwe_ids": ("`CWE-79`; of secrets CWE-798.", "all"),
    "owasp_ids": ("OWASP categories, as the rule writes them.", "semgrep, github, sarif, json"),
    "cvss_score": ("0 to 10.", "trivy, github, sarif, json"),
    "cvss_vector": ("As its source writes it.", "trivy, github, sarif, json"),
    "cvss_source": ("Who gave the score: `nvd`, `ghsa`, `redhat` …", "trivy, github, sarif, json"),
    "package": ("Its name.", "semgrep, trivy, github, sarif, json"),
    "purl": ("Its package URL.", "trivy, github, sarif, json"),
    "ecosystem": ("`npm`, `pip`, `alpine` …, in the tool's words.", "semgrep, trivy, github, sarif, json"),
    "affected_version": ("The version that is there, or the range of the advisory.", "semgrep, trivy, github, sarif, json"),
    "fixed_versions": ("Those that mend it.", "semgrep, trivy, github, sarif, json"),
    "secret_type": ("Whose secret: `GitHub`, `aws-access-token` …", "trivy, gitleaks, semgrep, github, sarif, json"),
    "masked_value": ("The mark `***`, whatever the secret.", "trivy, gitleaks, semgrep, github, sarif, json"),
    "policy_id": ("The check.", "trivy, sarif, json"),
    "resource_type": ("`terraform`, `dockerfile` …", "trivy, json"),
    "resource_name": ("`aws_s3_bucket.logs`.", "trivy, json"),
    "recommendation": ("In words.", "trivy, github, sarif, json"),
    "fix_code": ("What to write instead.", "semgrep, sarif, json"),
    "references of a remediation": ("Addresses on how to mend it.", "json"),
    "kind": ("`inSource`: a comment; `external`: anything else.", "all"),
    "justification": ("Why, in the words of who accepted it.", "all"),
}  # fmt: skip


def scanner_options() -> str:
    """Every option of every scanner, collector and parser that is installed."""
    registry = build_registry(load_plugins())
    text = (
        "# Which options has a scanner, a collector or a parser?\n\n"
        "Those of a scanner are the `config` of its entry in `scanners:`, and of a scan command, which goes over it; of a\n"
        "collector in `collectors:`; of a parser in `parsers:`, or a file for `--mapping`. An unknown one is an error by name.\n"
        "`timeout_seconds` and `report_progress` are a scan command's own, whatever the scanner.\n"
    )
    for kind, plugins in (
        ("Scanner", registry.scanners),
        ("Collector", registry.collectors),
        ("Parser", registry.parsers),
    ):
        for name, plugin in sorted(plugins.items()):
            options: Any = plugin.options
            if options is not None:
                text += f"\n## {kind} `{name}`\n\n" + "\n".join(_table(options)) + "\n"
    return text


def _table(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(by_alias=True)
    yield "| option | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        told = field.alias or name
        values = _values(schema["properties"][told], schema.get("$defs", {}))
        meaning = (field.description or "").replace("|", "\\|")
        yield f"| `{told}` | {values} | {_default(field)} | {meaning} |"


def _values(schema: Any, known: Any) -> str:
    if "$ref" in schema:
        return _values(known[schema["$ref"].rpartition("/")[2]], known)
    if some := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_values(one, known) for one in some if one != _NOTHING))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_values(schema.get('items', {}), known)}"
    if kind in ("integer", "number"):
        return _range(schema)
    names = {"boolean": "true, false", "string": "text", "object": "object", "any": "anything"}
    return names.get(kind, kind) if "const" not in schema else f"`{schema['const']}`"


_NOTHING: Final = {"type": "null"}


def _range(schema: Any) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    if least is None and most is None:
        return "number"
    return f"{least:,} to {most:,}" if most is not None else f"from {least:,}"


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if field.default_factory is not None:
        if field.default_factory_takes_validated_data:
            return "goes by the others"
        value = field.default_factory()
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, list | tuple | set | frozenset):
        return "`[" + ", ".join(str(one) for one in value) + "]`"
    if isinstance(value, BaseModel | dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def findings_page() -> str:
    """What each field of a finding means, and where severities and fingerprints come from."""
    lines = [
        "# What does a finding say?",
        "",
        "One shape for every tool, and on the wire: what the tool does not know is absent. `json` fills what its report or its",
        "[mapping](mapping.md) names; `webhook` fills what `github` does. [Which options have they?](scanner-options.md)",
    ]
    for title, model in _PARTS:
        lines += ["", f"## {title}", "", "| field | meaning | filled by |", "| --- | --- | --- |"]
        for name in model.model_fields:
            meaning, who = FIELDS[_key(model, name)]
            lines.append(f"| `{name}` | {meaning} | {who} |")
    tables = (_SEVERITY, "\n".join(_words()), "\n", "\n".join(_bands()), _FINGERPRINT)
    return "\n".join(lines) + "\n" + "".join(tables)


def _key(model: type[BaseModel], name: str) -> str:
    return {
        (findings.RelatedLocation, "message"): "message of a place",
        (findings.Remediation, "references"): "references of a remediation",
    }.get((model, name), name)


def _words() -> Iterator[str]:
    by_severity = {severity: [] for severity in reversed(findings.Severity)}
    for word, severity in known_words().items():
        by_severity[severity].append(f"`{word}`")
    yield "| severity | words, in any case |"
    yield "| --- | --- |"
    for severity, words in by_severity.items():
        yield f"| {severity} | {', '.join(words)} |"


def _bands() -> Iterator[str]:
    yield ""
    yield "| a score from | is |"
    yield "| --- | --- |"
    for score in _SCORES:
        yield f"| {score} | {severity_from_score(float(score))} |"


_SEVERITY: Final = """
## Where does the severity come from?

A tool's own word wins over a score, since whoever wrote the rule knew the case. `severity_threshold` and `--fail-on` take the
same words. Of SARIF, a rule's or result's `security-severity` wins, else the result's level, else the rule's default, else
`warning`. gitleaks has none: high. What trivy knows no severity of (`UNKNOWN`) is info, with `severity_source: unknown` in
its properties. A word that nobody uses counts as none. [Test vectors](vectors/severity.json).

"""

_FINGERPRINT: Final = """

## What is the same finding in the next scan?

The agent gives each a `fingerprint`: `rv1:` and 32 hex digits, over what it is about, never over where it stands. So it
survives lines added above it, a checkout in another folder and a second run, and two equal lines of one file are told apart
by their order. A change of what enters it gets a new version. [Test vectors](vectors/fingerprint.json).

| of | enters |
| --- | --- |
| a package | name (or purl), version, advisory, path |
| a secret | rule, path, the line with the secret masked; nothing of the secret |
| a misconfiguration | rule, path, type and name of the resource, the lines with white space made even |
| anything else | rule, path, the lines with white space made even |

Where there are no lines, the message stands for them, without its numbers. What tools call a fingerprint is not used: some
count lines, and one is the same text for every finding.
"""
