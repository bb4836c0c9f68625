"""What kind of finding a SARIF result is: SARIF itself knows no kinds but "result"."""

import re
from collections.abc import Iterable
from typing import Final

from rediver_agent.contract import FindingType

_SECRET_SCANNERS: Final = frozenset(
    """
    credscan detect-secrets ggshield gitguardian gitleaks kingfisher noseyparker
    secretscanner talisman trufflehog whispers
    """.split()
)
_CONFIGURATION_SCANNERS: Final = frozenset(
    "checkov dockle hadolint kics kube-linter kubescape terrascan tfsec".split()
)
# Hard-coded credentials, passwords and keys: the line that was found shows one.
_SECRET_WEAKNESSES: Final = frozenset({"CWE-798", "CWE-259", "CWE-321"})
_SECRET_RULE: Final = re.compile(r"(?<![a-z])secrets?(?![a-z])", re.IGNORECASE)


def finding_type(
    tool: str, rule: str, labels: Iterable[str], weaknesses: Iterable[str]
) -> FindingType:
    """The kind, by the tool's name, the rule's id, its name and tags, and its CWE numbers.

    What may show a secret is one: better masked for nothing than shown.
    """
    words = {label.lower() for label in labels}
    name = re.sub(r"[\s_]+", "-", tool.strip().lower())
    if (
        any(known in name for known in _SECRET_SCANNERS)
        or words & {"secret", "secrets"}
        or not _SECRET_WEAKNESSES.isdisjoint(weaknesses)
        or _SECRET_RULE.search(rule)
    ):
        return FindingType.SECRET
    if name in _CONFIGURATION_SCANNERS or "misconfiguration" in words:
        return FindingType.MISCONFIGURATION
    return FindingType.COMPLIANCE if "license" in words else FindingType.VULNERABILITY
