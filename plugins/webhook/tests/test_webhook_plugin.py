"""Only what one of the secrets has signed is taken, once, and not before it is kept; whoever else
comes gets a short answer.
"""

import http.client
import json
import os
import ssl
import subprocess  # noqa: TID251 - a terminal of its own needs a process of its own
import sys
from contextlib import closing
from urllib.parse import quote_plus, urlsplit

import anyio.to_thread
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from rediver_agent import ToolError
from rediver_agent.testing import check_listener, provided
from rediver_webhook import Webhook

OLD, NEW = "an old secret of sixteen", "a new secret of sixteen"


def test_it_is_found_by_its_entry_point():
    (collector,) = provided("webhook", "collector")

    assert isinstance(collector, Webhook)
    assert (collector.listens, collector.fetches) == (True, False)


def test_standard_checks(tmp_path, sign, dependency):
    body = json.dumps(dependency()).encode()

    def deliver(said):
        url = urlsplit(said.removeprefix("listening on "))
        headers = {"X-GitHub-Event": "dependabot_alert", "X-Hub-Signature-256": sign(body, NEW)}
        with closing(http.client.HTTPConnection(url.netloc, timeout=30)) as connection:
            connection.request("POST", url.path, body, headers)
            connection.getresponse().read()

    async def push(said):
        await anyio.to_thread.run_sync(deliver, said)

    check_listener(Webhook(), tmp_path, push, {"secrets": [NEW], "port": 0}, secrets=[NEW])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "secrets"),
        ({"secrets": []}, "at least 1 item"),
        ({"secrets": ["short"]}, "at least 16 characters"),
        ({"secrets": [NEW], "host": "0.0.0.0"}, "plain http on 0.0.0.0 would show alerts"),
        ({"secrets": [NEW], "tls_keyfile": "/k"}, "needs tls_certfile"),
        ({"secrets": [NEW], "path": "webhook"}, "write it like /webhook/github"),
        ({"secrets": [NEW], "repositories": ["shop"]}, "write owner/name"),
        ({"secrets": [NEW], "secret": NEW}, "Extra inputs"),
    ],
)
def test_options_that_would_leave_the_door_open_are_refused(options, sentence):
    with pytest.raises(ValidationError, match=sentence) as refused:
        Webhook.options.model_validate(options)

    assert NEW not in str(refused.value.errors(include_input=False))


def test_an_alert_is_kept_with_its_repository_before_the_answer(hook, dependency):
    known = len(hook.ctx.kept)

    assert hook.post(dependency(state="dismissed", dismissed_reason="inaccurate")) == (
        202, "it is on the agent's disk",
    )  # fmt: skip
    (kept,) = hook.ctx.kept[known:]
    (finding,) = kept.findings
    assert kept.asset.value == "https://github.com/acme/shop"
    assert (finding.severity, finding.status) == ("high", "false_positive")


@pytest.mark.parametrize(
    ("kind", "action", "status"),
    [
        ("dependabot_alert", "fixed", "resolved"),
        ("dependabot_alert", "auto_dismissed", "accepted_risk"),
        ("dependabot_alert", "auto_reopened", "open"),
        ("dependabot_alert", "reintroduced", "open"),
        ("code_scanning_alert", "appeared_in_branch", "open"),
        ("code_scanning_alert", "closed_by_user", "accepted_risk"),
        ("code_scanning_alert", "fixed", "resolved"),
        ("secret_scanning_alert", "publicly_leaked", "open"),
        ("secret_scanning_alert", "resolved", "resolved"),
        ("secret_scanning_alert", "validated", None),
        ("dependabot_alert", ["created"], None),
    ],
)
def test_an_alert_without_a_state_has_that_of_its_action(hook, dependency, kind, action, status):
    assert hook.post({**dependency(state=None), "action": action}, kind)[0] == 202
    assert hook.ctx.kept[-1].findings[0].status == status


def test_events_that_are_no_alerts_are_answered_politely(hook):
    known = len(hook.ctx.kept)

    assert hook.post({"zen": "a b"}, "ping")[0] == 200
    assert hook.post({"ref": "refs/heads/main"}, "push")[0] == 200
    assert hook.post({}, "an_event_of_2040")[0] == 200
    assert len(hook.ctx.kept) == known


@pytest.mark.parametrize(
    "change",
    [
        {"alert": None}, {"alert": []}, {"alert": {}}, {"alert": {"number": "1"}},
        {"alert": {"number": True}}, {"repository": None}, {"repository": {}},
        {"repository": {"full_name": "shop"}}, {"repository": {"full_name": "../../etc"}},
        {"repository": {"full_name": f"{'o' * 3000}/shop"}},
    ],
    ids=repr,
)  # fmt: skip
def test_an_alert_that_is_none_is_422_and_nothing_is_kept(hook, dependency, change):
    known = len(hook.ctx.kept)

    assert hook.post({**dependency(), **change})[0] == 422
    assert len(hook.ctx.kept) == known


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff{}", b'{"a": NaN}', b"9" * 5000, b"[" * 100_000,
             b'{"a":' * 200 + b"1" + b"}" * 200],
    ids=lambda body: repr(body[:12]),
)  # fmt: skip
def test_a_signed_body_that_is_no_object_of_json_is_400(hook, body):
    assert hook.post(body)[0] == 400


def test_a_form_is_read_and_its_raw_bytes_are_what_is_signed(hook, dependency):
    form = "application/x-www-form-urlencoded"
    body = f"payload={quote_plus(json.dumps(dependency()))}".encode()
    known = len(hook.ctx.kept)

    assert hook.post(body, Content_Type=form)[0] == 202
    assert hook.post(body, Content_Type=f"{form.title()}; charset=utf-8")[0] == 202
    for broken in (b"", b"payload=%ff", b"payload={}&payload={}", b"other={}", b"a&" * 100):
        assert hook.post(broken, Content_Type=form)[0] == 400
    assert len(hook.ctx.kept) == known + 2


def test_nothing_that_is_not_signed_rightly_is_taken(hook, sign, dependency):
    body, known = json.dumps(dependency()).encode(), len(hook.ctx.kept)
    right = sign(body)
    wrong = [
        None, "", "sha256=", right.upper(), right[7:], f"{right}0", right.replace("sha256", "sha1"),
        sign(body + b" "), sign(body, OLD), sign(body, ""), "sha256=\u00e9",
    ]  # fmt: skip

    for signature in wrong:
        assert hook.post(body, X_Hub_Signature_256=signature)[0] == 401, signature
    assert hook.post(body, X_Hub_Signature_256=None, X_Hub_Signature=right)[0] == 401
    twice = f"POST {hook.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    twice += f"X-Hub-Signature-256: {right}\r\n" * 2
    assert b" 401 " in hook.raw(f"{twice}\r\n".encode(), body)
    assert len(hook.ctx.kept) == known
    assert hook.post(body, X_Hub_Signature_256=right)[0] == 202


def test_several_secrets_are_good_while_one_is_replaced(listening, tmp_path, dependency):
    with listening(tmp_path, secrets=[OLD, NEW]) as hook:
        assert [hook.post(dependency(), secret=each)[0] for each in (OLD, NEW, OLD + NEW)] == [
            202, 202, 401,
        ]  # fmt: skip


def test_a_replay_is_not_taken_twice_not_even_after_a_restart(listening, tmp_path, dependency):
    with listening(tmp_path) as hook:
        assert hook.post(dependency(), X_GitHub_Delivery="one")[0] == 202
        assert hook.post(dependency(), X_GitHub_Delivery="one")[0] == 200
        assert hook.post(dependency(number=2), X_GitHub_Delivery=None)[0] == 202
        assert hook.post(dependency(number=2), X_GitHub_Delivery=None)[0] == 200
        assert len(hook.ctx.kept) == 2
    with listening(tmp_path) as hook:
        assert hook.post(dependency(), X_GitHub_Delivery="one")[0] == 200
        assert hook.post(dependency(), X_GitHub_Delivery="two")[0] == 202
        assert len(hook.ctx.kept) == 1


def test_what_could_not_be_kept_can_be_sent_again(listening, tmp_path, dependency):
    with listening(tmp_path) as hook:
        hook.ctx.full = True
        assert hook.post(dependency(), X_GitHub_Delivery="one")[0] == 503
        hook.ctx.full = False
        assert hook.post(dependency(), X_GitHub_Delivery="one")[0] == 202


def test_a_late_delivery_does_not_undo_a_newer_one(listening, tmp_path, dependency):
    first, second = "2026-01-01T00:00:00Z", "2026-01-01T02:00:00+01:00"
    with listening(tmp_path) as hook:
        assert hook.post(dependency(state="fixed", updated_at=second))[0] == 202
        assert hook.post(dependency(updated_at=first))[0] == 200
        assert hook.post(dependency(number=2, updated_at=first))[0] == 202
        assert hook.post(dependency(updated_at=second))[0] == 202
        assert hook.post(dependency(updated_at="yesterday"))[0] == 202
        assert hook.post(dependency())[0] == 202
        assert len(hook.ctx.kept) == 5


@pytest.mark.parametrize("kind", ["code_scanning_alert", "secret_scanning_alert"])
def test_alerts_that_do_not_say_when_they_changed_have_an_order_too(
    listening, tmp_path, dependency, kind
):
    made, over = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    closed = {"state": "dismissed", "dismissed_at": over, "resolved_at": over}
    with listening(tmp_path) as hook:

        def deliver(action, **alert):
            return hook.post({**dependency(created_at=made, **alert), "action": action}, kind)[0]

        assert deliver("closed_by_user", **closed) == 202
        assert deliver("created") == 200, "what was made is not newer than what was closed since"
        assert deliver("reopened") == 202, "nobody knows when"
        assert hook.ctx.kept[-1].findings[0].status == "open"


def test_a_memory_that_breaks_meanwhile_keeps_no_alert_out(listening, tmp_path, dependency, caplog):
    with listening(tmp_path) as hook:
        assert hook.post(dependency())[0] == 202
        for file in (tmp_path / "cache").glob("deliveries.sqlite3*"):
            file.write_bytes(b"no database" * 10_000)

        assert hook.post(dependency())[0] == 202
    assert len(hook.ctx.kept) == 2
    assert "cannot be read" in caplog.text


def test_a_damaged_memory_of_deliveries_is_begun_anew(listening, tmp_path, dependency):
    with listening(tmp_path) as hook:
        assert hook.post(dependency())[0] == 202
    (tmp_path / "cache" / "deliveries.sqlite3").write_bytes(b"no database" * 1000)

    with listening(tmp_path) as hook:
        assert hook.post(dependency())[0] == 202


def test_only_the_operators_repositories_are_taken(listening, tmp_path, dependency):
    with listening(tmp_path, repositories=["Acme/shop", "umbrella/*"]) as hook:
        for name, status in {
            "acme/Shop": 202, "acme/other": 200, "umbrella/any": 202, "umbrellas/any": 200,
        }.items():  # fmt: skip
            delivery = dependency()
            delivery["repository"]["full_name"] = name
            assert hook.post(delivery)[0] == status, name
        assert len(hook.ctx.kept) == 2


def test_a_door_that_cannot_be_opened_is_a_sentence(listening, hook, tmp_path):
    missing = {"tls_certfile": str(tmp_path / "no.pem")}
    for options, sentence in (
        ({"port": hook.port}, f"port {hook.port} cannot be listened on: Address already in use"),
        ({"host": "192.0.2.1", "allow_http": True}, "192.0.2.1 port 0 cannot be listened on"),
        ({"host": "no.invalid", "allow_http": True}, "no.invalid port 0 cannot be listened on"),
        (missing, "TLS with .*no.pem does not work"),
    ):
        with pytest.raises(ToolError, match=sentence), listening(tmp_path, **options):
            pass


# A session without a terminal gets the one that it opens first.
LISTEN_AT_A_TERMINAL = """
import os, pathlib, sys
terminal, certificate, directory = sys.argv[1:]
os.open(terminal, os.O_RDWR)
import anyio
from rediver_agent.testing import FakeListenContext
from rediver_webhook import Webhook
given = {"secrets": ["s" * 16], "port": 0, "tls_certfile": certificate}
options = Webhook.options.model_validate(given)
anyio.run(Webhook().listen, FakeListenContext(pathlib.Path(directory)), options)
"""


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path):
    issued = trustme.CA().issue_cert("localhost")
    locked = load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a passphrase")
    )
    certificate = tmp_path / "pem"
    certificate.write_bytes(issued.cert_chain_pems[0].bytes() + locked)
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", LISTEN_AT_A_TERMINAL, os.ttyname(theirs), certificate, tmp_path],
        stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)

    assert "a key that needs a passphrase cannot be used" in done.stderr


def test_it_has_tls_of_its_own_where_it_is_told_to(listening, tmp_path, sign, dependency):
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "pem")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    body = json.dumps(dependency()).encode()
    headers = {"X-GitHub-Event": "dependabot_alert", "X-Hub-Signature-256": sign(body)}

    with listening(tmp_path, tls_certfile=str(tmp_path / "pem"), host="localhost") as hook:
        connection = http.client.HTTPSConnection(
            "localhost", hook.port, context=trusting, timeout=30
        )
        with closing(connection):
            connection.request("POST", hook.path, body, headers)
            assert connection.getresponse().status == 202
