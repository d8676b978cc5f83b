"""How much a tenant may use, and how much it has used.

A job that is accepted holds its place and its pictures, in the transaction that writes it; when it ends, in
whatever way, the hold goes and what was used is added to the day (`settle`, called by `change`). So while
nothing is in flight there are no holds. Bytes are counted where outputs, images and models come and go.

Places and pictures are exact. Device seconds and bytes are known only afterwards. Datasets and batches hold
what they are likely to take, picture by picture, by what the tenant's latest jobs took (`jobs.estimates`); a
single job is accepted while the tenant is below the limit, which it can pass by what it makes.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Integer,
    Row,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from jobs.errors import LimitExceeded, QueueFull, QuotaExceeded
from jobs.estimates import Needs
from jobs.schemas import PARENTS, Status
from jobs.store.database import INSERTS, now
from jobs.store.tables import holds, jobs, storage, tenants, usage

DAY_S = 86400
FULL_RETRY_S = 5  # a place may be free by then
BYTES_RETRY_S = 3600  # only deleting and retention make room
_QUEUED = jobs.c.status == literal_column("'queued'")  # a literal, so that the partial index serves it
_ALONE = jobs.c.parent.is_(None)  # parts wait in their parent's place
_CROWD = 64  # submits of a tenant that may run at once before counts must be exact


@dataclass(frozen=True)
class Quotas:
    """What a tenant may use; None is no limit."""

    max_jobs: int | None = None
    max_images_per_job: int | None = None
    max_images_per_day: int | None = None
    max_device_s_per_day: float | None = None
    max_bytes: int | None = None
    max_requests_per_minute: int | None = None

    def or_else(self, other: "Quotas") -> "Quotas":
        """These, and `other`'s where there is none."""
        chosen = {name: getattr(self, name) for name in LIMITS}
        return Quotas(**{n: getattr(other, n) if limit is None else limit for n, limit in chosen.items()})


LIMITS = tuple(field.name for field in fields(Quotas))


def quotas_of(row: Any) -> Quotas:
    """From whatever has attributes of these names: a row of `tenants`, the settings."""
    return Quotas(**{name: getattr(row, name) for name in LIMITS})


@dataclass(frozen=True)
class Usage:
    """What a tenant uses now and has used today (UTC), and what it may."""

    jobs: int  # queued and running
    waiting: int
    images_held: int  # by those jobs
    images: int
    jobs_ended: int
    device_s: float
    stored_bytes: int
    bytes_held: float  # that datasets and batches in flight are likely to store and use
    device_s_held: float
    resets_in_s: float
    quotas: Quotas


COUNTED = tuple(field.name for field in fields(Usage) if field.name not in ("resets_in_s", "quotas"))


class today(FunctionElement[int]):
    """Whole days since 1970, by the database's clock."""

    type = Integer()
    inherit_cache = True


@compiles(today, "sqlite")
def _today_sqlite(element: today, compiler: Any, **kwargs: Any) -> str:
    return "CAST(julianday('now') - 2440587.5 AS INTEGER)"


@compiles(today, "postgresql")
def _today_postgresql(element: today, compiler: Any, **kwargs: Any) -> str:
    return "floor(extract(epoch from clock_timestamp()) / 86400)::integer"


def used(connection: Connection, tenant: str, defaults: Quotas) -> Usage:
    """One statement, for it is part of every submit."""
    row = connection.execute(_used(), {"of": tenant}).one()
    counts = {name: row._mapping[name] or 0 for name in COUNTED}
    return Usage(**counts, resets_in_s=DAY_S - row.now % DAY_S, quotas=quotas_of(row).or_else(defaults))


@cache
def _used() -> Select[Any]:
    """Built once: that takes longer than asking it."""
    tenant: BindParameter[str] = bindparam("of")
    mine = holds.c.tenant == tenant
    today_ = (usage.c.tenant == tenant) & (usage.c.day == today())
    columns = {
        "jobs": select(func.count()).select_from(holds).where(mine),
        "waiting": select(func.count()).select_from(jobs).where(jobs.c.tenant == tenant, _QUEUED, _ALONE),
        "images_held": select(func.coalesce(func.sum(holds.c.images), 0)).where(mine),
        "images": select(usage.c.images).where(today_),
        "jobs_ended": select(usage.c.jobs).where(today_),
        "device_s": select(usage.c.device_s).where(today_),
        "bytes_held": select(func.sum(holds.c.images * holds.c.bytes_each)).where(mine),
        "device_s_held": select(func.sum(holds.c.images * holds.c.device_s_each)).where(mine),
        "stored_bytes": select(storage.c.size_bytes).where(storage.c.tenant == tenant),
    }
    columns |= {name: select(tenants.c[name]).where(tenants.c.tenant == tenant) for name in LIMITS}
    labelled = [query.scalar_subquery().label(name) for name, query in columns.items()]
    return select(*labelled, now().label("now"))


def admit(
    connection: Connection,
    tenant: str,
    images: int,
    *,
    defaults: Quotas,
    max_queued: int | None,
    asked: Callable[[], Needs] | None = None,
) -> Needs:
    """What one job more, with so many pictures, is to hold. LimitExceeded, QuotaExceeded, QueueFull if it may
    not be. `asked`: what else it is likely to need; left out for a single job.
    """
    found, needs = used(connection, tenant, defaults), Needs(images)
    if asked is not None and (found.quotas.max_bytes, found.quotas.max_device_s_per_day) != (None, None):
        needs = asked()
    if connection.dialect.name == "postgresql" and _close(found, needs, max_queued):
        # Near a limit submits take turns, so that none counts rows that another is about to add.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:tenant))"), {"tenant": tenant})
        found = used(connection, tenant, defaults)
    _refuse(found, needs, max_queued)
    return needs


def refusal(connection: Connection, tenant: str, needs: Needs, *, defaults: Quotas) -> str | None:
    """Why `admit` would refuse now, in words; None if it would not."""
    try:
        _refuse(used(connection, tenant, defaults), needs, None)
    except (LimitExceeded, QuotaExceeded) as error:
        return str(error)
    return None


def hold(connection: Connection, tenant: str, job_id: str, needs: Needs) -> None:
    """The place of an admitted job, and what it needs, are taken."""
    count = max(1, needs.images)
    each = {"bytes_each": needs.bytes / count, "device_s_each": needs.device_s / count}
    connection.execute(_HOLD, {"tenant": tenant, "job_id": job_id, "images": needs.images, **each})


_HOLD = insert(holds)


def _close(found: Usage, needs: Needs, max_queued: int | None) -> bool:
    quotas = found.quotas
    return (
        (max_queued is not None and found.waiting + _CROWD > max_queued)
        or (quotas.max_jobs is not None and found.jobs + _CROWD > quotas.max_jobs)
        or quotas.max_images_per_day is not None  # a job may take many
        or needs.bytes + needs.device_s > 0
    )


def _refuse(found: Usage, needs: Needs, max_queued: int | None) -> None:
    limits, images, tomorrow_s = found.quotas, needs.images, round(found.resets_in_s) + 1
    for limit, where in ((limits.max_images_per_job, "one job"), (limits.max_images_per_day, "a day")):
        if limit is not None and images > limit:
            raise LimitExceeded(f"The job makes {images} pictures, and {limit} may be made in {where}.")
    if limits.max_jobs is not None and found.jobs >= limits.max_jobs:
        detail = (
            f"{found.jobs} jobs are queued or running, and {limits.max_jobs} may be: wait for some to end."
        )
        raise QuotaExceeded(detail, retry_after_s=FULL_RETRY_S)
    if max_queued is not None and found.waiting >= max_queued:
        raise QueueFull(f"{found.waiting} jobs are waiting, and {max_queued} may")
    spoken_for = found.images + found.images_held
    if limits.max_images_per_day is not None and spoken_for + images > limits.max_images_per_day:
        detail = (
            f"{spoken_for} pictures are made today or ordered, and {limits.max_images_per_day} may be: "
            f"this job makes {images}. The count starts afresh at 00:00 UTC."
        )
        raise QuotaExceeded(detail, retry_after_s=tomorrow_s)
    if limits.max_device_s_per_day is not None and found.device_s >= limits.max_device_s_per_day:
        detail = (
            f"The {limits.max_device_s_per_day:g} device seconds of today are used. More come at 00:00 UTC."
        )
        raise QuotaExceeded(detail, retry_after_s=tomorrow_s)
    refuse_bytes(found, 0)
    _refuse_device_s(found, needs.device_s)
    _refuse_estimated_bytes(found, needs.bytes)


def _refuse_device_s(found: Usage, wanted: float) -> None:
    limit, taken = found.quotas.max_device_s_per_day, found.device_s + found.device_s_held
    if limit is None or not wanted:
        return
    told = f"The job is likely to take {wanted:,.0f} device seconds, by your latest ones with the model"
    if wanted > limit:
        raise LimitExceeded(f"{told}; a day has {limit:,.0f}. Order fewer pictures at a time.")
    if taken + wanted > limit:
        left = f"of the {limit:,.0f} of today {taken:,.0f} are used or ordered"
        detail = f"{told}; {left}. More come at 00:00 UTC; or order fewer pictures."
        raise QuotaExceeded(detail, retry_after_s=round(found.resets_in_s) + 1)


def _refuse_estimated_bytes(found: Usage, wanted: float) -> None:
    limit, taken = found.quotas.max_bytes, found.stored_bytes + found.bytes_held
    if limit is None or not wanted:
        return
    told = f"The job is likely to store {wanted / 1e6:,.1f} MB"
    if wanted > limit:
        detail = (
            f"{told}; {limit / 1e6:,.1f} MB may be stored. Order fewer or smaller pictures, or jpeg or webp."
        )
        raise LimitExceeded(detail)
    if taken + wanted > limit:
        left = f"of {limit / 1e6:,.1f} MB {taken / 1e6:,.1f} are stored or ordered"
        detail = f"{told}; {left}. Delete jobs to make room, or order fewer pictures."
        raise QuotaExceeded(detail, retry_after_s=BYTES_RETRY_S)


def refuse_bytes(found: Usage, size: int) -> None:
    """Raises QuotaExceeded if there is no room for `size` bytes more; 0 asks whether it is full."""
    limit = found.quotas.max_bytes
    if limit is not None and found.stored_bytes + max(size, 1) > limit:
        detail = f"{found.stored_bytes} bytes are stored, and {limit} may be: delete jobs to make room."
        raise QuotaExceeded(detail, retry_after_s=BYTES_RETRY_S)


def settle(connection: Connection, rows: Sequence[Row[Any]], made: int = 0) -> None:
    """The holds of those `rows` (jobs, as they have become) that have ended go; what they used is added up.

    A job that succeeded has used the pictures that it held, or what it `made`, if that was more; any other
    only what it made. Device seconds are those of the attempt that ended it.
    """
    over = {row.id: row for row in rows if Status(row.status).terminal}
    if not over:
        return
    totals: dict[str, dict[str, float]] = defaultdict(lambda: {"jobs": 0, "images": 0, "device_s": 0.0})
    for job_id, images in connection.execute(_LET_GO, {"over": list(over)}):
        row = over[job_id]
        total = totals[row.tenant]
        total["jobs"] += 1
        total["images"] += max(images, made) if row.status == Status.SUCCEEDED else made
        total["device_s"] += 0.0 if row.kind in PARENTS else _device_s(row)
    for row in over.values():
        if row.parent is not None:
            _settle_part(connection, row, totals[row.tenant])
    for tenant in sorted(totals):  # in one order, or two reapers could wait for each other
        if any(totals[tenant].values()):
            _add(connection, usage, tenant, totals[tenant])


_LET_GO = (
    delete(holds)
    .where(holds.c.job_id.in_(bindparam("over", expanding=True)))
    .returning(holds.c.job_id, holds.c.images)
)


def _device_s(row: Row[Any]) -> float:
    seconds: float = (row.metrics or {}).get("device_ms", 0) / 1000
    return seconds


def _settle_part(connection: Connection, row: Row[Any], total: dict[str, float]) -> None:
    """What a part used counts on the day of its own end; its pictures leave what its parent holds."""
    total["device_s"] += _device_s(row)
    if row.status == Status.SUCCEEDED and row.size:
        total["images"] += row.size
        parents = (holds.c.tenant == row.tenant) & (holds.c.job_id == row.parent)
        connection.execute(update(holds).where(parents).values(images=holds.c.images - row.size))


def spent(found: Usage) -> bool:
    """Whether what is done in parts has to rest: device seconds or bytes are used up."""
    limits = found.quotas
    device = limits.max_device_s_per_day is not None and found.device_s >= limits.max_device_s_per_day
    return device or (limits.max_bytes is not None and found.stored_bytes >= limits.max_bytes)


def stored(connection: Connection, sizes: Mapping[str, int]) -> None:
    """So many bytes more (or, negative, fewer) by tenant are stored."""
    for tenant in sorted(sizes):
        if sizes[tenant]:
            _add(connection, storage, tenant, {"size_bytes": sizes[tenant]})


def _add(connection: Connection, table: Table, tenant: str, more: Mapping[str, float]) -> None:
    statement = _adding(connection.dialect.name, table, tuple(more))
    connection.execute(statement, {"tenant": tenant, **more})


@cache
def _adding(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    """Adds to these columns of the tenant's row, of today where the table has days."""
    statement = INSERTS[dialect](table)
    if "day" in table.c:
        statement = statement.values(day=today())
    sums = {name: table.c[name] + statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)
