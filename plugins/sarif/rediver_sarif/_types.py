"""What kind of finding a SARIF result is: SARIF itself knows no kinds but "result"."""

import re
from functools import lru_cache
from typing import Final

from rediver_agent.contract import FindingType

_SECRET_SCANNER: Final = re.compile(
    "credscan|detect-secrets|ggshield|gitguardian|gitleaks|kingfisher|noseyparker|secretscanner"
    "|talisman|trufflehog|whispers"
)
_CONFIGURATION_SCANNER: Final = re.compile(
    "checkov|dockle|hadolint|kics|kube-linter|kubescape|terrascan|tfsec"
)
# Hard-coded credentials, passwords and keys: the line that was found shows one.
_SECRET_WEAKNESSES: Final = frozenset({"CWE-798", "CWE-259", "CWE-321"})
_SECRET_RULE: Final = re.compile(r"(?<![a-z])secrets?(?![a-z])|^CSCAN\d|^SEC\d{3}/", re.IGNORECASE)


@lru_cache(1024)
def finding_type(
    tool: str, rule: str, labels: tuple[str, ...], weaknesses: tuple[str, ...]
) -> FindingType:
    """The kind, by the tool's name, the rule's id, its name and tags, and its CWE numbers.

    What may show a secret is one: better masked for nothing than shown.
    """
    words = {label.lower() for label in labels}
    name = re.sub(r"[\s_]+", "-", tool.strip().lower())
    if (
        _SECRET_SCANNER.search(name)
        or words & {"secret", "secrets"}
        or not _SECRET_WEAKNESSES.isdisjoint(weaknesses)
        or _SECRET_RULE.search(rule)
    ):
        return FindingType.SECRET
    if _CONFIGURATION_SCANNER.fullmatch(name) or "misconfiguration" in words:
        return FindingType.MISCONFIGURATION
    return FindingType.COMPLIANCE if "license" in words else FindingType.VULNERABILITY
