"""Signatures of Standard Webhooks (standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body`.

A secret is not stored. It is derived from a random salt in the database and a master secret in the settings,
so neither alone signs anything, and it can be shown again (docs/decisions/0006-webhook-secrets.md).
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.settings import Settings

PREFIX = "whsec_"


@dataclass(frozen=True)
class Signer:
    master: bytes

    def secret(self, salt: str) -> str:
        """`whsec_` and 32 bytes in base64: what the receiver verifies with."""
        return PREFIX + base64.b64encode(self._key(salt)).decode()

    def headers(self, salts: Sequence[str], event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """The three headers of an attempt, signed with each secret of `salts`: two while one is rotated."""
        signatures = [signature(self._key(salt), event_id, timestamp_s, body) for salt in salts]
        return {
            "webhook-id": event_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": " ".join(signatures),
        }

    def _key(self, salt: str) -> bytes:
        return hmac.digest(self.master, b"webhook\0" + salt.encode(), hashlib.sha256)


def signature(key: bytes, event_id: str, timestamp_s: int, body: bytes) -> str:
    signed = f"{event_id}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signer_of(settings: Settings) -> Signer:
    """Raises ValueError when neither `webhook_secret` nor `url_secret` is set."""
    if settings.webhook_secret is not None:
        return Signer(settings.webhook_secret.get_secret_value().encode())
    return Signer(hmac.digest(settings.secret(), b"webhook secrets", hashlib.sha256))
