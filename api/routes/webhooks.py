"""Webhooks of a tenant: endpoints, their secrets, and the log of what was delivered to them.

`jobs` is not an endpoint: under that name is the secret that signs webhooks which jobs name for themselves,
and their log. A call that makes a secret answers with it; nothing of what a receiver answered is ever shown.
"""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from api import openapi
from api.body import no_body
from api.deps import JsonBody, Pages, PlainInt, Signs, Store, Targets, Tenant, produces, require
from api.submission import read
from jobs.access import Scope
from jobs.errors import NotFound
from jobs.store import JobStore
from jobs.store.webhooks import OF_JOBS, DeliveryRow, WebhookRow
from jobs.views import rfc3339
from jobs.webhooks.schemas import (
    AttemptView,
    DeliveryPage,
    DeliveryStatus,
    DeliveryView,
    NewWebhook,
    Rotation,
    SecretView,
    WebhookChange,
    WebhookList,
    WebhookView,
)
from jobs.webhooks.signing import Signer

router = APIRouter(tags=["webhooks"], dependencies=[Depends(produces("application/json"))])
ADMIN = require(Scope.ADMIN)  # an endpoint is told of every job of its tenant

_ENDPOINT_ID = re.compile(r"whk_[0-9A-HJKMNP-TV-Z]{26}")
_DELIVERY_ID = re.compile(r"dlv_[0-9A-HJKMNP-TV-Z]{26}")


async def endpoint_id(webhook_id: str) -> str:
    if not _ENDPOINT_ID.fullmatch(webhook_id):
        raise NotFound("There is no such webhook.")
    return webhook_id


async def signer_id(webhook_id: str) -> str:
    """Of an endpoint, or `jobs`."""
    return webhook_id if webhook_id == OF_JOBS else await endpoint_id(webhook_id)


async def delivery_id(delivery_id: str) -> str:
    if not _DELIVERY_ID.fullmatch(delivery_id):
        raise NotFound("There is no such delivery.")
    return delivery_id


EndpointId = Annotated[str, Depends(endpoint_id)]
SignerId = Annotated[str, Depends(signer_id)]
DeliveryId = Annotated[str, Depends(delivery_id)]


# --- endpoints -------------------------------------------------------------------------------------------


@router.post(
    "/v1/webhooks",
    status_code=201,
    response_model=WebhookView,
    dependencies=[ADMIN],
    openapi_extra=openapi.json_body(NewWebhook),
)
def add_webhook(body: JsonBody, tenant: Tenant, store: Store, rules: Targets, signer: Signs) -> Response:
    """Be told of the jobs of this tenant. The answer holds the secret that signs what is sent; 20 at most."""
    asked = read(NewWebhook, body)
    url = rules.register(asked.url).url
    row = store.webhooks.add(tenant, url=url, events=asked.events, description=asked.description)
    return _json(_view(row, secret=signer.secret(row.salt)), 201)


@router.get("/v1/webhooks", response_model=WebhookList)
def list_webhooks(tenant: Tenant, store: Store) -> Response:
    """All webhooks, oldest first."""
    return _json(WebhookList(data=[_view(row) for row in store.webhooks.list(tenant)]))


@router.get("/v1/webhooks/{webhook_id}", response_model=WebhookView)
def read_webhook(webhook_id: EndpointId, tenant: Tenant, store: Store) -> Response:
    """One webhook, without its secret."""
    return _json(_view(store.webhooks.get(tenant, webhook_id)))


@router.patch(
    "/v1/webhooks/{webhook_id}",
    response_model=WebhookView,
    dependencies=[ADMIN],
    openapi_extra=openapi.json_body(WebhookChange),
)
def change_webhook(
    webhook_id: EndpointId, body: JsonBody, tenant: Tenant, store: Store, rules: Targets
) -> Response:
    """Change what is given. What waits goes to the new URL; `enabled` switches it off and on."""
    change = read(WebhookChange, body).model_dump(exclude_none=True)
    if "url" in change:
        change["url"] = rules.register(change["url"]).url
    return _json(_view(store.webhooks.alter(tenant, webhook_id, **change)))


@router.delete("/v1/webhooks/{webhook_id}", status_code=204, dependencies=[ADMIN, Depends(no_body)])
def remove_webhook(webhook_id: EndpointId, tenant: Tenant, store: Store) -> Response:
    """Forget it, with the log of its deliveries and what waits."""
    store.webhooks.remove(tenant, webhook_id)
    return Response(status_code=204)


@router.post(
    "/v1/webhooks/{webhook_id}/test",
    status_code=202,
    response_model=DeliveryView,
    dependencies=[Depends(no_body)],
)
def send_test(webhook_id: EndpointId, tenant: Tenant, store: Store) -> Response:
    """Send an event `webhook.test`. The answer is its delivery, to look at again."""
    return _json(_delivery(store.webhooks.test(tenant, webhook_id)), 202)


# --- secrets ---------------------------------------------------------------------------------------------


@router.get("/v1/webhooks/{webhook_id}/secret", response_model=SecretView, dependencies=[ADMIN])
def read_secret(webhook_id: SignerId, tenant: Tenant, store: Store, signer: Signs) -> Response:
    """The secret that signs; of `jobs`: what signs webhooks that jobs name for themselves."""
    return _json(_secret(_signing_row(store, tenant, webhook_id), signer))


@router.post(
    "/v1/webhooks/{webhook_id}/rotate",
    response_model=SecretView,
    dependencies=[ADMIN],
    openapi_extra=openapi.json_body(Rotation),
)
def rotate_secret(
    webhook_id: SignerId, body: JsonBody, tenant: Tenant, store: Store, signer: Signs
) -> Response:
    """A new secret. For `overlap_s` (a day) what is sent has two signatures, by the old one and the new."""
    overlap_s = read(Rotation, body).overlap_s
    _signing_row(store, tenant, webhook_id)
    return _json(_secret(store.webhooks.rotate(tenant, webhook_id, overlap_s=overlap_s), signer))


def _signing_row(store: JobStore, tenant: str, webhook_id: str) -> WebhookRow:
    hooks = store.webhooks
    return hooks.of_jobs(tenant) if webhook_id == OF_JOBS else hooks.get(tenant, webhook_id)


# --- deliveries ------------------------------------------------------------------------------------------


@router.get("/v1/webhooks/{webhook_id}/deliveries", response_model=DeliveryPage)
def list_deliveries(
    webhook_id: SignerId,
    tenant: Tenant,
    store: Store,
    cursors: Pages,
    status: Annotated[list[DeliveryStatus], Query(description="Given several times: any of them.")] = [],  # noqa: B006
    limit: Annotated[PlainInt, Field(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> Response:
    """What was sent to a webhook and what waits, newest first, with every attempt. Kept for 30 days."""
    scope = {"list": "deliveries", "tenant": tenant, "of": webhook_id, "status": sorted(set(status))}
    after = None if cursor is None else cursors.read(scope, cursor)
    _signing_row(store, tenant, webhook_id)
    rows = store.webhooks.deliveries(tenant, webhook_id, status=status, after=after, limit=limit + 1)
    following = cursors.following(scope, rows, limit)
    return _json(DeliveryPage(data=[_delivery(row) for row in rows[:limit]], next_cursor=following))


@router.get("/v1/webhooks/deliveries/{delivery_id}", response_model=DeliveryView)
def read_delivery(delivery_id: DeliveryId, tenant: Tenant, store: Store) -> Response:
    """One delivery, with every attempt."""
    return _json(_delivery(store.webhooks.delivery(tenant, delivery_id)))


@router.post(
    "/v1/webhooks/deliveries/{delivery_id}/resend",
    status_code=202,
    response_model=DeliveryView,
    dependencies=[Depends(no_body)],
)
def resend(delivery_id: DeliveryId, tenant: Tenant, store: Store) -> Response:
    """Send it again, under the same `webhook-id`; 409 while it is still being tried."""
    return _json(_delivery(store.webhooks.resend(tenant, delivery_id)), 202)


# --- as callers see it -----------------------------------------------------------------------------------


def _view(row: WebhookRow, secret: str | None = None) -> WebhookView:
    return WebhookView(
        id=row.id,
        url=row.url or "",
        events=list(row.events),
        description=row.description,
        enabled=row.disabled_at is None,
        disabled_reason=row.disabled_reason,
        failing_since=_time(row.failing_since),
        created_at=rfc3339(row.created_at),
        secret=secret,
    )


def _secret(row: WebhookRow, signer: Signer) -> SecretView:
    return SecretView(secret=signer.secret(row.salt), previous_until=_time(row.previous_until))


def _delivery(row: DeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        webhook=row.webhook_id,
        event=row.event_id,
        type=row.type,
        job=row.job_id,
        url=row.url,
        status=row.status,
        tries=row.tries,
        next_attempt_at=rfc3339(row.next_at) if row.status == "pending" else None,
        error=row.error,
        created_at=rfc3339(row.created_at),
        finished_at=_time(row.finished_at),
        attempts=[
            AttemptView(
                number=attempt.number,
                at=rfc3339(attempt.at),
                duration_ms=attempt.duration_ms,
                status=attempt.status,
                error=attempt.error,
            )
            for attempt in row.attempts
        ],
    )


def _time(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else rfc3339(epoch_s)


def _json(view: BaseModel, status: int = 200) -> Response:
    return Response(view.model_dump_json(), status, media_type="application/json")
