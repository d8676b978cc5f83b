"""Our signatures against the public library of Standard Webhooks."""

import base64
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from jobs.settings import Settings
from jobs.webhooks.signing import Signer, signer_of

SIGNER = Signer(b"master secret")
BODY = json.dumps({"type": "job.finished", "data": {"note": "grün"}}, ensure_ascii=False).encode()


def headers(*salts, timestamp_s=None, body=BODY):
    return SIGNER.headers(salts, "evt_1", timestamp_s or int(time.time()), body)


def test_the_public_library_verifies_what_we_sign():
    assert Webhook(SIGNER.secret("a")).verify(BODY, headers("a"))["data"] == {"note": "grün"}


def test_while_a_secret_is_rotated_both_verify():
    both = headers("new", "old")

    assert both["webhook-signature"].count("v1,") == 2
    for salt in ("new", "old"):
        Webhook(SIGNER.secret(salt)).verify(BODY, both)
    with pytest.raises(WebhookVerificationError):
        Webhook(SIGNER.secret("older")).verify(BODY, both)


def test_another_body_time_or_id_does_not_verify():
    verifier, good = Webhook(SIGNER.secret("a")), headers("a")

    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY + b" ", good)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY, good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)})
    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY, good | {"webhook-id": "evt_2"})
    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY, headers("a", timestamp_s=int(time.time()) - 301))


def test_a_secret_has_the_form_of_the_standard_and_depends_on_salt_and_master():
    secret = SIGNER.secret("a")

    assert secret.startswith("whsec_") and len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert len({secret, SIGNER.secret("b"), Signer(b"another").secret("a")}) == 3


def test_the_master_is_the_setting_and_without_it_comes_from_the_url_secret():
    links = Settings(url_secret="u" * 32)
    own = Settings(url_secret="u" * 32, webhook_secret="w" * 32)

    assert signer_of(links).secret("a") == signer_of(links).secret("a") != signer_of(own).secret("a")
    assert signer_of(own).secret("a") == signer_of(Settings(webhook_secret="w" * 32)).secret("a")
    assert signer_of(links) != Signer(b"u" * 32)
    with pytest.raises(ValueError):
        signer_of(Settings())
    with pytest.raises(ValueError):
        Settings(webhook_secret="short")
