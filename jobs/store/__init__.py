"""The store: the record of every job, on SQLite or PostgreSQL. The broker's messages are only hints.

`JobStore` opens the transactions; what happens inside them is in `gateway`, `worker`, `reaper` and `library`,
by who asks. Every method is synchronous, safe to call from any thread, and raises `StoreUnavailable` when the
database does not answer. Leases, deadlines and back-off go by the database's clock.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, text

from jobs.estimates import Asked, Measured, Needs
from jobs.schemas import PARENTS, JobError, JobRequest, Progress, Status
from jobs.settings import Settings
from jobs.store import (
    directions,
    gateway,
    history,
    library,
    parts,
    pick,
    quota,
    reaper,
    steering,
    tending,
    worker,
)
from jobs.store.database import Database, connect
from jobs.store.quota import Quotas, Usage, quotas_of
from jobs.store.rows import (
    Beat,
    Claim,
    DirectionSetRow,
    Due,
    EventRow,
    ImageRow,
    JobRow,
    Leftovers,
    ModelRow,
    OutputRow,
    job_prefix,
    job_row,
)
from jobs.store.webhooks import WebhookStore
from jobs.store.worker import Limits, Reason

__all__ = [
    "Beat",
    "Claim",
    "DirectionSetRow",
    "Due",
    "EventRow",
    "ImageRow",
    "JobRow",
    "JobStore",
    "Leftovers",
    "Limits",
    "ModelRow",
    "OutputRow",
    "Quotas",
    "Usage",
    "connect",
    "job_prefix",
    "open_store",
]


def open_store(settings: Settings) -> "JobStore":
    """The store that the settings name. The tables must exist: `python -m jobs.migrate` makes them."""
    limits = Limits(
        lease_s=settings.lease_s,
        stall_s=settings.stall_s,
        max_attempts=settings.max_attempts,
        max_losses=settings.max_losses,
        artifact_ttl_s=settings.artifact_ttl_s,
        leftovers_s=settings.leftovers_s,
    )
    return JobStore(connect(settings.database_url), limits, quotas_of(settings))


class JobStore:
    def __init__(self, engine: Engine, limits: Limits | None = None, quotas: Quotas | None = None) -> None:
        """`quotas`: of tenants that have none of their own."""
        self.database = Database(engine)
        self.limits, self.quotas = limits or Limits(), quotas or Quotas()
        self.webhooks = WebhookStore(self.database)

    def close(self) -> None:
        self.database.engine.dispose()

    def ping(self) -> None:
        """Raises StoreUnavailable if the database does not answer."""
        with self.database.read() as connection:
            connection.execute(text("SELECT 1"))

    # --- the gateway's side --------------------------------------------------------------------------------

    def submit(
        self,
        tenant: str,
        request: JobRequest,
        *,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
        max_queued: int | None = None,
        traceparent: str | None = None,
        asked: Asked | None = None,
    ) -> tuple[JobRow, bool]:
        """Accept a job: (row, True), or (the earlier row, False) for an `idempotency_key` of the last 24 h.

        Parallel submits with one key wait for the first, then replay it. `body_hash` identifies the body
        for that; left out, it is that of the request. Raises IdempotencyKeyReused; QueueFull when
        `max_queued` jobs of the tenant wait; QuotaExceeded and LimitExceeded. `traceparent`: see
        `JobRow.traceparent`. `asked`: what the job is likely to need, beside its pictures.
        """
        with self.database.write(tenant) as connection:
            row, created = gateway.submit(
                connection,
                tenant,
                request,
                idempotency_key=idempotency_key,
                body_hash=body_hash,
                max_queued=max_queued,
                quotas=self.quotas,
                traceparent=traceparent,
                asked=asked,
            )
            if created and row.kind not in PARENTS:
                return job_row(row), True  # without files yet
            return self._shown(connection, row), created

    def get(self, tenant: str, job_id: str) -> JobRow:
        """Raises NotFound."""
        with self.database.read(tenant) as connection:
            return gateway.with_outputs(connection, [gateway.one(connection, tenant, job_id)])[0]

    def seq(self, tenant: str, job_id: str) -> int:
        """The job's `seq`: the cheap question of those who wait for a change. Raises NotFound."""
        with self.database.read(tenant) as connection:
            return gateway.seq_of(connection, tenant, job_id)

    def list(
        self,
        tenant: str,
        *,
        status: Sequence[Status] = (),
        kind: str | None = None,
        model: str | None = None,
        created_after: float | None = None,
        created_before: float | None = None,
        metadata: Mapping[str, str] | None = None,
        parent: str | None = None,
        after: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[JobRow]:
        """Newest first, from behind `after` = (created_at, id) of a page's last row. Bounds are exclusive.

        The parts of `parent`; without one, jobs that are no part of another.
        """
        with self.database.read(tenant) as connection:
            rows = gateway.page(
                connection,
                tenant,
                status=status,
                kind=kind,
                model=model,
                created_after=created_after,
                created_before=created_before,
                metadata=metadata or {},
                parent=parent,
                after=after,
                limit=limit,
            )
            return gateway.with_outputs(connection, rows)

    def cancel(self, tenant: str, job_id: str) -> JobRow:
        """Queued: canceled at once; running: flagged. Twice is fine. Raises Conflict `already_finished`."""
        with self.database.write(tenant) as connection:
            return self._shown(connection, gateway.cancel(connection, tenant, job_id))

    def retry(self, tenant: str, job_id: str, *, traceparent: str | None = None) -> JobRow:
        """Queue a failed, canceled or expired job again; the caller sends it. Conflict, QuotaExceeded."""
        with self.database.write(tenant) as connection:
            row = gateway.retry(connection, tenant, job_id, quotas=self.quotas, traceparent=traceparent)
            return self._shown(connection, row)

    def pause(self, tenant: str, job_id: str, *, paused: bool) -> JobRow:
        """Pause a dataset, or let it go on. Raises Conflict."""
        with self.database.write(tenant) as connection:
            row = gateway.one(connection, tenant, job_id)
            steering.pause(connection, row, paused=paused)
            return self._shown(connection, row)

    def extend(self, tenant: str, job_id: str, more: int) -> JobRow:
        """`more` samples of a dataset. Raises Conflict, LimitExceeded, QuotaExceeded."""
        with self.database.write(tenant) as connection:
            row = gateway.one(connection, tenant, job_id)
            steering.extend(connection, row, more, defaults=self.quotas)
            return self._shown(connection, row)

    def _shown(self, connection: Connection, row: Row[Any]) -> JobRow:
        """What the caller is told of `row`, which has just changed; a parent's parts follow at once."""
        if row.kind in PARENTS:
            tending.tend(connection, row.tenant, row.id, self.quotas)
            row = gateway.one(connection, row.tenant, row.id)
        return gateway.with_outputs(connection, [row])[0]

    def add_lines(self, tenant: str, batch: str, first: int, requests: Sequence[JobRequest]) -> None:
        """The next lines of a batch that was just submitted."""
        with self.database.write(tenant) as connection:
            parts.add_lines(connection, gateway.one(connection, tenant, batch), first, requests)

    def parents(self) -> Sequence[tuple[str, str]]:
        """(tenant, id) of datasets and batches that are not over. Then `tend`."""
        with self.database.read() as connection:
            return tending.parents(connection)

    def tend(self, tenant: str, job_id: str) -> bool:
        """Do what a dataset or batch needs now; whether that was anything."""
        with self.database.write(tenant) as connection:
            return tending.tend(connection, tenant, job_id, self.quotas)

    def parts(self, tenant: str, parent: str, after: int = -1, limit: int = 1000) -> Sequence[JobRow]:
        """The parts of a job behind the place `after`, in order, with their outputs."""
        with self.database.read(tenant) as connection:
            row = gateway.one(connection, tenant, parent)
            return gateway.with_outputs(connection, parts.page(connection, row, after, limit))

    def delete(self, tenant: str, job_id: str) -> Sequence[str]:
        """Remove a terminal job; returns the keys of its files, which the reaper removes in any case."""
        with self.database.write(tenant) as connection:
            return gateway.delete_job(connection, tenant, job_id)

    def events(self, tenant: str, job_id: str, after_seq: int = 0) -> Sequence[EventRow]:
        """The job's transitions with `seq` above `after_seq`, in order. Raises NotFound."""
        with self.database.read(tenant) as connection:
            return gateway.events_after(connection, tenant, job_id, after_seq)

    def depths(self) -> dict[str, int]:
        """Waiting jobs by lane; lanes without any are left out."""
        with self.database.read() as connection:
            return gateway.depths(connection)

    def parts_under_way(self) -> dict[tuple[str, str], int]:
        """By kind of the parent and state: the parts of datasets and batches that are not over."""
        with self.database.read() as connection:
            return parts.under_way(connection)

    def running(self) -> int:
        with self.database.read() as connection:
            return gateway.running(connection)

    def oldest_queued_s(self) -> float:
        """How long the job that waits longest has waited; 0 when none does."""
        with self.database.read() as connection:
            return gateway.oldest_queued_s(connection)

    def usage(self, tenant: str) -> Usage:
        """What the tenant uses and has used today, and what it may."""
        with self.database.read(tenant) as connection:
            return quota.used(connection, tenant, self.quotas)

    def refusal(self, tenant: str, needs: Needs) -> str | None:
        """Why a submit of a job with such needs would be refused now; None if it would not."""
        with self.database.read(tenant) as connection:
            return quota.refusal(connection, tenant, needs, defaults=self.quotas)

    def measured(self, tenant: str, model: str, media_type: str) -> Measured:
        """What the tenant's latest jobs with a model took for each picture."""
        with self.database.read(tenant) as connection:
            return history.measured(connection, tenant, model, media_type)

    def refuse_bytes(self, tenant: str, size: int) -> None:
        """Raises QuotaExceeded if the tenant may not store so much more."""
        quota.refuse_bytes(self.usage(tenant), size)

    def put_image(self, tenant: str, image: ImageRow) -> tuple[ImageRow, bool]:
        """The stored row, and False if the picture was known."""
        with self.database.write(tenant) as connection:
            return library.put_image(connection, tenant, image)

    def get_image(self, tenant: str, image_id: str) -> ImageRow:
        """Raises NotFound."""
        with self.database.read(tenant) as connection:
            return library.get_image(connection, tenant, image_id)

    def put_model(self, tenant: str, model: ModelRow) -> None:
        """Raises Conflict `name_taken`."""
        with self.database.write(tenant) as connection:
            library.put_model(connection, tenant, model)

    def get_model(self, tenant: str, name: str) -> ModelRow:
        """Raises NotFound."""
        with self.database.read(tenant) as connection:
            return library.get_model(connection, tenant, name)

    def list_models(self, tenant: str) -> Sequence[ModelRow]:
        with self.database.read(tenant) as connection:
            return library.list_models(connection, tenant)

    def put_directions(self, tenant: str, found: DirectionSetRow) -> None:
        """Raises Conflict `name_taken`."""
        with self.database.write(tenant) as connection:
            directions.put_directions(connection, tenant, found)

    def list_directions(self, tenant: str, model: str | None = None) -> Sequence[DirectionSetRow]:
        """By name; of all models without one."""
        with self.database.read(tenant) as connection:
            return directions.list_directions(connection, tenant, model)

    def get_directions(self, tenant: str, model: str, name: str) -> DirectionSetRow:
        """Raises NotFound."""
        with self.database.read(tenant) as connection:
            return directions.get_directions(connection, tenant, model, name)

    def delete_directions(self, tenant: str, model: str, name: str) -> None:
        """Raises NotFound."""
        with self.database.write(tenant) as connection:
            directions.delete_directions(connection, tenant, model, name)

    # --- the worker's side ---------------------------------------------------------------------------------

    def claim(self, job_id: str, worker_name: str, *, payload_version: int) -> Claim | None:
        """Take the job for `lease_s`; None when there is nothing to take: acknowledge the message and forget.

        `payload_version` is the newest that the worker knows; a newer job is left for a newer worker.
        """
        with self.database.write() as connection:
            return worker.claim(
                connection, job_id, worker_name, payload_version=payload_version, limits=self.limits
            )

    def claim_fairest(
        self,
        hint: str,
        worker_name: str,
        *,
        payload_version: int,
        kinds: Collection[str],
        lanes: Collection[str],
    ) -> Claim | None:
        """Take the job whose turn it is, of these kinds and in these lanes; None when nothing waits.

        `hint` is the job that the message named. It comes first only if its worker has fallen silent.
        """
        with self.database.write() as connection:
            return pick.claim_fairest(
                connection,
                hint,
                worker_name,
                payload_version=payload_version,
                kinds=kinds,
                lanes=lanes,
                limits=self.limits,
            )

    def heartbeat(
        self,
        claim: Claim,
        progress: Progress | None = None,
        checkpoint_key: str | None = None,
        *,
        advanced: bool = True,
    ) -> Beat:
        """Renew the lease; LOST when another has the job, or when it has not `advanced` for `stall_s`."""
        with self.database.write(durable=False) as connection:
            return worker.heartbeat(
                connection,
                claim,
                progress=progress,
                checkpoint_key=checkpoint_key,
                advanced=advanced,
                limits=self.limits,
            )

    def release(self, claim: Claim, *, reason: Reason, error: JobError | None = None) -> Status | None:
        """Give the job up; returns its new status (queued, failed or canceled), None when it was lost."""
        with self.database.write() as connection:
            return worker.release(connection, claim, reason=reason, error=error, limits=self.limits)

    def finish(
        self,
        claim: Claim,
        status: Status,
        *,
        outputs: Sequence[OutputRow] = (),
        result: dict[str, Any] | None = None,
        error: JobError | None = None,
        metrics: dict[str, float] | None = None,
        progress: Progress | None = None,
        model: ModelRow | None = None,
        found: DirectionSetRow | None = None,
    ) -> bool:
        """End the job, and publish `outputs`, `model` and `found`, in one transaction. False: a stale fence.

        Raises Conflict `name_taken` if the name of `model` or `found` is another's; nothing has changed then.
        """
        with self.database.write() as connection:
            return worker.finish(
                connection,
                claim,
                status,
                published=outputs,
                result=result,
                error=error,
                metrics=metrics,
                progress=progress,
                model=model,
                found=found,
                limits=self.limits,
            )

    # --- the reaper's side ---------------------------------------------------------------------------------

    def due_for_send(
        self, limit: int = 500, *, empty_lanes: Collection[str] = (), told_lanes: Collection[str] = ()
    ) -> Sequence[Due]:
        """Queued jobs to send now; in `empty_lanes` (of the broker) those whose back-off says later, too; in
        `told_lanes`, which have a message for each, only those that were never sent.
        """
        with self.database.read() as connection:
            return reaper.due_for_send(connection, limit, empty_lanes=empty_lanes, told_lanes=told_lanes)

    def mark_sent(self, *job_ids: str) -> None:
        with self.database.write(durable=False) as connection:
            reaper.mark_sent(connection, job_ids)

    def expire_deadlines(self, limit: int = 500) -> int:
        with self.database.write() as connection:
            return reaper.expire_deadlines(connection, limit)

    def reap_leases(self, limit: int = 500) -> int:
        with self.database.write() as connection:
            return reaper.reap_leases(connection, limit, self.limits)

    def cancel_orphans(self, limit: int = 500) -> int:
        with self.database.write() as connection:
            return reaper.cancel_orphans(connection, limit)

    def fail_exhausted(self, limit: int = 500) -> int:
        with self.database.write() as connection:
            return reaper.fail_exhausted(connection, limit, self.limits)

    def sweep_artifacts(self, limit: int = 500) -> Sequence[str]:
        """Keys whose retention has ended; their rows say `gone` from now on. Then `forget_keys`."""
        with self.database.write() as connection:
            return reaper.sweep_artifacts(connection, limit)

    def forget_keys(self, keys: Sequence[str]) -> None:
        with self.database.write() as connection:
            reaper.forget_keys(connection, keys)

    def leftovers(self, limit: int = 50) -> Sequence[Leftovers]:
        """Ended jobs whose unpublished files should go. Then `mark_swept`."""
        with self.database.read() as connection:
            return reaper.leftovers(connection, limit, self.limits)

    def mark_swept(self, job_id: str) -> None:
        with self.database.write() as connection:
            reaper.mark_swept(connection, job_id)

    def prefixes_to_remove(self, limit: int = 50) -> Sequence[tuple[str, str]]:
        """(tenant, key prefix) of deleted jobs. Then `forget_prefix`."""
        with self.database.read() as connection:
            return reaper.prefixes_to_remove(connection, limit)

    def forget_prefix(self, tenant: str, prefix: str) -> None:
        with self.database.write(tenant) as connection:
            reaper.forget_prefix(connection, tenant, prefix)

    def forget_idempotency(self) -> int:
        with self.database.write() as connection:
            return reaper.forget_idempotency(connection)
