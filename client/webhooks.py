"""Webhooks: `verify_webhook` for those who receive them, and one function for each route that manages them.

    client.send(webhooks.add("https://example.com/hooks", events=["started", "finished"]))

`jobs` in place of a webhook's id is what jobs name for themselves: its secret, its deliveries.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import httpx2 as httpx
from pydantic import BaseModel

from client.calls import Call
from client.errors import BadWebhook
from jobs.webhooks.schemas import (
    DeliveryPage,
    DeliveryView,
    NewWebhook,
    Rotation,
    SecretView,
    WebhookChange,
    WebhookList,
    WebhookView,
)

M = TypeVar("M", bound=BaseModel)
TOLERANCE_S = 300.0


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    tolerance_s: float = TOLERANCE_S,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """The event in `body`, if it was signed with `secret` (`whsec_…`) and lately. Raises BadWebhook.

    `body` must be the bytes as they came. An event may come more than once: `webhook-id` tells.
    """
    given = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(clock() - int(timestamp)) > tolerance_s:
        raise BadWebhook("the webhook is too old, or has no time")
    signed = f"{event_id}.{timestamp}.".encode() + body
    expected = hmac.digest(_key(secret), signed, hashlib.sha256)
    if not any(hmac.compare_digest(expected, found) for found in _signatures(given)):
        raise BadWebhook("no signature of this secret is on the webhook")
    event: dict[str, Any] = json.loads(body)
    return event


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("a secret starts with whsec_, and the rest is base64") from None


def _signatures(headers: Mapping[str, str]) -> list[bytes]:
    """Those of version 1; the header may hold several, of an old and a new secret."""
    found = []
    for part in headers.get("webhook-signature", "").split(" "):
        version, _, text = part.partition(",")
        try:
            found += [base64.b64decode(text, validate=True)] if version == "v1" else []
        except binascii.Error:
            continue
    return found


# --- calls -----------------------------------------------------------------------------------------------


def add(url: str, *, events: Sequence[str] = ("finished",), description: str = "") -> Call[WebhookView]:
    """POST /v1/webhooks. The answer holds the secret."""
    asked = {"url": url, "events": list(events), "description": description}
    return _post("/v1/webhooks", WebhookView, NewWebhook.model_validate_json(json.dumps(asked)))


def every() -> Call[WebhookList]:
    return Call("GET", "/v1/webhooks", _reader(WebhookList))


def get(webhook_id: str) -> Call[WebhookView]:
    return Call("GET", f"/v1/webhooks/{webhook_id}", _reader(WebhookView))


def change(webhook_id: str, **changes: Any) -> Call[WebhookView]:
    """PATCH /v1/webhooks/{id}: url, events, description, enabled."""
    asked = WebhookChange.model_validate_json(json.dumps(changes))
    body = asked.model_dump_json(exclude_unset=True).encode()
    path = f"/v1/webhooks/{webhook_id}"
    return Call("PATCH", path, _reader(WebhookView), headers=_JSON, content=body)


def remove(webhook_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/webhooks/{webhook_id}", lambda reply: None, repeatable=False)


def secret(webhook_id: str) -> Call[SecretView]:
    return Call("GET", f"/v1/webhooks/{webhook_id}/secret", _reader(SecretView))


def rotate(webhook_id: str, *, overlap_s: float = 86400.0) -> Call[SecretView]:
    """POST …/rotate: a new secret; for `overlap_s` the old one signs too."""
    return _post(f"/v1/webhooks/{webhook_id}/rotate", SecretView, Rotation(overlap_s=overlap_s))


def test(webhook_id: str) -> Call[DeliveryView]:
    """POST …/test: send an event that says nothing."""
    return _post(f"/v1/webhooks/{webhook_id}/test", DeliveryView)


def deliveries(
    webhook_id: str, *, status: Sequence[str] = (), limit: int = 50, cursor: str | None = None
) -> Call[DeliveryPage]:
    """GET …/deliveries, newest first. `status`: pending, succeeded, failed."""
    params = {"status": list(status), "limit": limit} | ({"cursor": cursor} if cursor else {})
    return Call("GET", f"/v1/webhooks/{webhook_id}/deliveries", _reader(DeliveryPage), params=params)


def delivery(delivery_id: str) -> Call[DeliveryView]:
    return Call("GET", f"/v1/webhooks/deliveries/{delivery_id}", _reader(DeliveryView))


def resend(delivery_id: str) -> Call[DeliveryView]:
    """POST /v1/webhooks/deliveries/{id}/resend: the same event again."""
    return _post(f"/v1/webhooks/deliveries/{delivery_id}/resend", DeliveryView)


_JSON = {"Content-Type": "application/json"}


def _post(path: str, answer: type[M], body: BaseModel | None = None) -> Call[M]:
    """Twice would be twice, so it is sent once."""
    content = None if body is None else body.model_dump_json().encode()
    headers = {} if body is None else _JSON
    return Call("POST", path, _reader(answer), headers=headers, content=content, repeatable=False)


def _reader(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda reply: model.model_validate_json(reply.content)
