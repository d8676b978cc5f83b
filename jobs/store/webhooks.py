"""`WebhookStore`: a tenant's webhooks and what is delivered to them; the store's part for all that.

Like `JobStore`: synchronous, safe from any thread, and `StoreUnavailable` when the database does not answer.
"""

from collections.abc import Collection, Sequence
from typing import Any

from jobs.ids import new_event_id
from jobs.store import deliveries, endpoints
from jobs.store.database import Database
from jobs.store.deliveries import DeliveryRow, Leased
from jobs.store.endpoints import WebhookRow
from jobs.store.outbox import OF_JOBS, new_delivery

__all__ = ["OF_JOBS", "DeliveryRow", "Leased", "WebhookRow", "WebhookStore"]


class WebhookStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the tenant's side ---------------------------------------------------------------------------------

    def add(self, tenant: str, *, url: str, events: Sequence[str], description: str) -> WebhookRow:
        """Raises Conflict `too_many_webhooks`."""
        with self._database.write(tenant) as connection:
            return endpoints.add(connection, tenant, url=url, events=events, description=description)

    def of_jobs(self, tenant: str) -> WebhookRow:
        """The row `jobs`, made at the first call."""
        with self._database.write(tenant) as connection:
            endpoints.ensure_of_jobs(connection, tenant)
            return endpoints.one(connection, tenant, OF_JOBS)

    def get(self, tenant: str, webhook_id: str) -> WebhookRow:
        """Raises NotFound."""
        with self._database.read(tenant) as connection:
            return endpoints.one(connection, tenant, webhook_id)

    def list(self, tenant: str) -> Sequence[WebhookRow]:
        """Oldest first; without `jobs`."""
        with self._database.read(tenant) as connection:
            return endpoints.every(connection, tenant)

    def alter(self, tenant: str, webhook_id: str, **values: Any) -> WebhookRow:
        """Set url, events, description or enabled. Raises NotFound."""
        with self._database.write(tenant) as connection:
            return endpoints.alter(connection, tenant, webhook_id, **values)

    def rotate(self, tenant: str, webhook_id: str, *, overlap_s: float) -> WebhookRow:
        """A new salt; the one before signs too for `overlap_s`. Raises NotFound."""
        with self._database.write(tenant) as connection:
            return endpoints.rotate(connection, tenant, webhook_id, overlap_s=overlap_s)

    def remove(self, tenant: str, webhook_id: str) -> None:
        """With its deliveries. Raises NotFound."""
        with self._database.write(tenant) as connection:
            endpoints.remove(connection, tenant, webhook_id)

    def test(self, tenant: str, webhook_id: str) -> DeliveryRow:
        """A delivery of an event that says nothing. Raises NotFound; Conflict when it is disabled."""
        with self._database.write(tenant) as connection:
            endpoints.must_be_enabled(connection, tenant, webhook_id)
            values = new_delivery(tenant, webhook_id, new_event_id(), "webhook.test")
            return deliveries.insert_one(connection, values)

    def deliveries(
        self,
        tenant: str,
        webhook_id: str,
        *,
        status: Sequence[str] = (),
        after: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRow]:
        """Newest first, from behind `after` = (created_at, id) of a page's last row. Raises NotFound."""
        with self._database.read(tenant) as connection:
            endpoints.one(connection, tenant, webhook_id)
            return deliveries.page(connection, tenant, webhook_id, status=status, after=after, limit=limit)

    def delivery(self, tenant: str, delivery_id: str) -> DeliveryRow:
        """Raises NotFound."""
        with self._database.read(tenant) as connection:
            return deliveries.one(connection, tenant, delivery_id)

    def resend(self, tenant: str, delivery_id: str) -> DeliveryRow:
        """A new series of attempts. Raises NotFound; Conflict while one is under way, or when disabled."""
        with self._database.write(tenant) as connection:
            webhook_id = deliveries.one(connection, tenant, delivery_id).webhook_id
            endpoints.must_be_enabled(connection, tenant, webhook_id)
            return deliveries.resend(connection, tenant, delivery_id)

    # --- the dispatcher's side -----------------------------------------------------------------------------

    def lease(self, limit: int, *, share: int, busy: Collection[tuple[str, str]] = ()) -> Sequence[Leased]:
        """Due deliveries: at most `share` of one webhook, none of the `busy` (tenant, webhook)."""
        with self._database.write(durable=False) as connection:
            return deliveries.lease(connection, limit, share=share, busy=busy)

    def settle(
        self,
        leased: Leased,
        *,
        succeeded: bool,
        retry_in_s: float | None = None,
        duration_ms: int = 0,
        status: int | None = None,
        error: str | None = None,
        sent: bool = True,
        gone: bool = False,
    ) -> str | None:
        """Record an attempt; without `retry_in_s`, a failure is the end.

        What was not even `sent` is no fault of the endpoint. Returns why the endpoint was disabled by that:
        `gone` (410) or `failing` (for 5 days); mostly None.
        """
        with self._database.write() as connection:
            endpoints.lock(connection, leased.tenant, leased.webhook_id)
            counted = deliveries.settle(
                connection,
                leased,
                succeeded=succeeded,
                retry_in_s=retry_in_s,
                duration_ms=duration_ms,
                status=status,
                error=error,
            )
            if not counted or not sent or leased.webhook_id == OF_JOBS:
                return None
            failing = deliveries.note_health(connection, leased, succeeded=succeeded)
            reason = "gone" if gone else "failing" if failing else None
            if reason and endpoints.disable(connection, leased.tenant, leased.webhook_id, reason):
                return reason
            return None

    def waiting(self) -> tuple[int, float]:
        """How many deliveries wait for an attempt, and how long the longest has been due (0: none is)."""
        with self._database.read() as connection:
            return deliveries.waiting(connection)

    # --- the reaper's side ---------------------------------------------------------------------------------

    def forget(self, kept_s: float, limit: int = 5000) -> int:
        """Drop deliveries that ended that long ago; how many."""
        with self._database.write() as connection:
            return deliveries.forget(connection, kept_s, limit)
