"""Nothing of a secret leaves the parser, wherever in a result a tool has written it."""

import pytest

from rediver_agent import MASK

SECRET = "hunter2-Zx81"
LONG = "ghp0uHW06o5qD4ycwRUyILWd5I6X0o4z"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG[::-1]}\n-----END RSA PRIVATE KEY-----"


def shown(finding):
    return finding.model_dump_json()


def everywhere(a_result, secret, **more):
    """A result that shows the secret in every text it has."""
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": "config/settings.env"},
            "region": {"startLine": 3, "snippet": {"text": f'key = "{secret}"'}},
            "contextRegion": {"startLine": 2, "snippet": {"text": f"a\nkey = {secret}\nb"}},
        },
        "message": {"text": f"{secret} is here"},
    }
    return a_result(
        "leak",
        locations=[place],
        message={"text": f"found {secret} ({{0}})", "arguments": [secret]},
        relatedLocations=[place],
        codeFlows=[{"threadFlows": [{"locations": [{"location": place}]}]}],
        fixes=[{"description": {"text": f"drop {secret}"}}],
        properties={"match": secret, "tags": [secret]},
        fingerprints={"raw": secret},
        partialFingerprints={"hash": secret},
        suppressions=[{"kind": "inSource", "justification": f"{secret} is a test"}],
        hostedViewerUri=f"https://viewer.example/{secret}",
        **more,
    )


def tagged(*tags, **more):
    return {"rules": [{"id": "leak", "properties": {"tags": list(tags)}} | more]}


@pytest.mark.parametrize(
    "run",
    [
        {"tool": "gitleaks"},
        {"tool": "TruffleHog v3"},
        {"tool": "Detect Secrets"},
        tagged("secret"),
        tagged("security", "external/cwe/cwe-798"),
        tagged("CWE-259: Hard-coded password"),
        tagged(name="Secret"),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, LONG])
def test_a_secret_shows_nowhere_in_its_finding(findings, a_result, run, secret):
    (found,) = findings(everywhere(a_result, secret), **run)

    assert found.type == "secret"
    assert secret not in shown(found)
    assert found.location.snippet == MASK
    assert found.secret.masked_value == MASK
    assert found.partial_fingerprints == {}


@pytest.mark.parametrize(
    "rule", ["generic.secrets.aws-key", "CKV_SECRET_6", "SEC101/037", "CSCAN0060"]
)
def test_a_rule_about_secrets_is_known_by_its_id(findings, a_result, rule):
    (found,) = findings(everywhere(a_result, SECRET) | {"ruleId": rule})

    assert found.type == "secret"
    assert SECRET not in shown(found)


@pytest.mark.parametrize("rule", ["secretary-problem", "undisclosedsecretive", "js/xss"])
def test_other_rules_are_not_taken_for_them(findings, a_result, rule):
    (found,) = findings(a_result(rule))

    assert found.type == "vulnerability"


def test_a_fingerprint_that_is_a_hash_of_a_secret_says_that_it_is_one(findings, a_result):
    (found,) = findings(a_result(partialFingerprints={"SecretHash/v1": "fdZwTjfxyQHI"}))

    assert found.type == "secret"
    assert "fdZwTjfxyQHI" not in shown(found)


@pytest.mark.parametrize("line", KEY.split("\n"))
def test_no_line_of_a_longer_secret_shows(findings, a_result, line):
    result = everywhere(a_result, KEY) | {"message": {"text": f"see {line}!"}}
    (found,) = findings(result, tool="gitleaks")

    assert line not in shown(found)


@pytest.mark.parametrize(
    "message",
    [
        f"Found GitHub result: {LONG}",
        f"Match: token={SECRET}",
        f"password: {SECRET}",
        f"the value '{SECRET}' is a secret",
        f'the value "{SECRET}" is a secret',
        f"`{SECRET}`",
    ],
)
def test_a_secret_in_words_alone_is_masked(findings, a_result, message):
    (found,) = findings(a_result(message={"text": message}), tool="trufflehog")

    assert SECRET not in shown(found)
    assert LONG not in shown(found)


def test_a_rules_description_that_quotes_the_line_is_masked(findings, a_result):
    rule = {"id": "leak", "name": "Secret", "fullDescription": {"text": f"TOKEN={LONG}"}}
    (found,) = findings(a_result("leak"), rules=[rule], tool="Trivy")

    assert found.description == f"TOKEN={MASK}"


def test_what_is_no_secret_stays_readable(findings, a_result):
    commit = "32f597adacbc351f134d05ba7661afeacd233a78"
    text = f"generic-api-key has detected secret for file config/env/test.js at commit {commit}."
    rule = {"id": "generic-api-key", "shortDescription": {"text": "Detected a Generic API Key"}}
    (found,) = findings(
        a_result(
            "generic-api-key",
            "config/env/test.js",
            message={"text": text},
            partialFingerprints={"commitSha": commit, "email": "a@example.org"},
        ),
        rules=[rule],
        tool="gitleaks",
    )

    assert (found.title, found.message) == ("Detected a Generic API Key", text)
    assert found.partial_fingerprints == {"commitSha": commit}
