"""Deliveries that GitHub's own libraries test with, and malformed ones, with the signatures that
GitHub would send. The files lie beside the repository; without them these tests are skipped.
"""

import json
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
HERE = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"no folder {FIXTURES.parent.name}/fixtures"
)
ALERTS = {"code_scanning_alert", "dependabot_alert", "secret_scanning_alert"}
DECIDED = {"accepted_risk", "false_positive"}
STATUS = {"open": {"open"}, "dismissed": DECIDED, "fixed": {"resolved"}, None: {"open"}}


def entries(*, malformed):
    manifest = FIXTURES / "manifest.json"
    files = json.loads(manifest.read_text("utf-8"))["files"] if manifest.is_file() else []
    chosen = [
        entry for entry in files if entry["kind"] == "webhook" and ("outcome" in entry) is malformed
    ]
    return [pytest.param(entry, id=entry["file"]) for entry in chosen] or [
        pytest.param(None, marks=HERE)
    ]


@pytest.mark.parametrize("entry", entries(malformed=False))
def test_a_real_delivery_is_what_was_counted_in_it(entry, hook):
    expected, body = entry["expected"], (FIXTURES / entry["file"]).read_bytes()
    event, signature = expected["event_header"], expected["x_hub_signature_256"]
    known = len(hook.ctx.kept)
    forged = signature.replace(signature[-1], "0" if signature[-1] != "0" else "1")

    assert hook.post(body, event, X_Hub_Signature_256=forged)[0] == 401
    status, _ = hook.post(body, event, X_Hub_Signature_256=signature)

    kept = hook.ctx.kept[known:]
    if event not in ALERTS:
        assert (status, kept) == (200, [])
        return
    assert status == 202
    (one,) = kept
    (finding,) = one.findings
    assert one.asset.name == expected["repository"]
    assert one.asset.value.endswith(expected["repository"])
    assert one.tool.name == "github"
    identity = finding.partial_fingerprints["rediver/alert"]
    assert identity.endswith(f"/{expected['alert_number']}")
    assert finding.status in STATUS[expected["alert_state"]]
    secret = json.loads(body)["alert"].get("secret")
    assert secret is None or secret not in finding.model_dump_json()


@pytest.mark.parametrize("event", ["dependabot_alert", "push"])
@pytest.mark.parametrize("entry", entries(malformed=True))
def test_a_malformed_delivery_is_answered_and_nothing_is_kept(entry, event, hook):
    body = (FIXTURES / entry["file"]).read_bytes()
    form = (
        "application/x-www-form-urlencoded" if "form-body" in entry["file"] else "application/json"
    )
    known = len(hook.ctx.kept)
    outcome = {"reject": {400}, "accept and ignore": {200}}.get(entry["outcome"], {200, 422})
    outcome |= {422} if event in ALERTS else set()

    assert hook.post(body, event, Content_Type=form)[0] in outcome
    assert len(hook.ctx.kept) == known
