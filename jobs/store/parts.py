"""The parts of a job that is done in parts: a dataset's shards, a batch's lines, and the summary of them.

A part is a job of its own, with the lease, the fence and the attempts of any other. The parent holds no
worker: it is `running` from its submit to its end. Parts that are not to be worked on yet, because enough
others wait or the parent is paused, stand in lanes that no worker serves.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, insert, select, update

from jobs.blobs import BUCKETS, dataset_prefix
from jobs.dataset import ShardInput, SummaryInput
from jobs.errors import Conflict
from jobs.estimates import Needs
from jobs.fit import pictures
from jobs.ids import new_job_id
from jobs.lanes import HELD
from jobs.schemas import (
    PARENTS,
    BatchRequest,
    DatasetRequest,
    JobRequest,
    Kind,
    Priority,
    ShardRequest,
    Status,
    SummaryRequest,
    request_adapter,
)
from jobs.store.change import QUEUED, RUNNING, new_row, new_times, send_in
from jobs.store.database import now
from jobs.store.quota import stored
from jobs.store.rows import job_prefix
from jobs.store.tables import families, jobs, outputs, removals

AT_ONCE = 500  # rows of one statement
LATEST = 50  # parts that tell what further ones will take
SUMMARY = -1  # the place of the last part
SUMMARY_S = 3600.0  # it may take
UNSUCCESSFUL = (Status.FAILED, Status.CANCELED, Status.EXPIRED)
WAITS_HELD = jobs.c.lane.startswith(HELD, autoescape=True)
OURS = ~outputs.c.key.startswith(BUCKETS, autoescape=True)  # not in a bucket of the tenant's
HELD_LANE = case((WAITS_HELD, jobs.c.lane), else_=HELD + jobs.c.lane)


def of(parent: Row[Any]) -> ColumnElement[bool]:
    """The parts of a job, without their summary."""
    return and_(jobs.c.tenant == parent.tenant, jobs.c.parent == parent.id, jobs.c.place >= 0)


def family_of(parent: Row[Any]) -> ColumnElement[bool]:
    return and_(families.c.tenant == parent.tenant, families.c.job_id == parent.id)


def dataset_of(parent: Row[Any]) -> DatasetRequest:
    request = request_adapter.validate_json(parent.request)
    assert isinstance(request, DatasetRequest)
    return request


def found(connection: Connection, parent: Row[Any]) -> None:
    """Write the record of a parent that was just submitted. Raises Conflict for a prefix that is taken."""
    request = request_adapter.validate_json(parent.request)
    values: dict[str, Any] = {"tenant": parent.tenant, "job_id": parent.id, "made": 0, "covered": 0}
    if isinstance(request, DatasetRequest):
        prefix = request.input.prefix or parent.id
        taken = (families.c.tenant == parent.tenant) & (families.c.prefix == prefix)
        if connection.execute(select(families.c.job_id).where(taken)).first():
            raise Conflict(f"There is a dataset with the prefix {prefix!r}.", code="name_taken")
        _refuse_unswept(connection, parent.tenant, prefix)
        values |= {"parts": request.input.shards, "prefix": prefix}
    else:
        assert isinstance(request, BatchRequest)
        values |= {"parts": request.input.lines}
    connection.execute(insert(families).values(values))


def _refuse_unswept(connection: Connection, tenant: str, prefix: str) -> None:
    """The reaper would remove a new dataset's files with those of the deleted one."""
    mine = (removals.c.tenant == tenant) & (removals.c.prefix == dataset_prefix(tenant, prefix))
    if connection.execute(select(removals.c.prefix).where(mine)).first():
        raise Conflict(f"The files of {prefix!r} are being removed: wait a moment.", code="name_taken")


def refuse_part(row: Row[Any]) -> None:
    """Raises Conflict `part_of_job`: a part is steered with the others."""
    if row.parent is not None:
        raise Conflict(f"It is a part of {row.parent}: act on that job.", code="part_of_job")


# --- making them -----------------------------------------------------------------------------------------


def add_lines(connection: Connection, parent: Row[Any], first: int, requests: Sequence[JobRequest]) -> None:
    """Write the lines `first`, `first + 1`, … of a batch; they are held until all are there."""
    at = connection.scalar(select(now()))
    rows = [
        _part(parent, place, request, pictures(request), at) for place, request in enumerate(requests, first)
    ]
    connection.execute(insert(jobs), [row | {"lane": HELD + row["lane"]} for row in rows])
    connection.execute(update(families).where(family_of(parent)).values(made=families.c.made + len(rows)))


def make_shards(connection: Connection, parent: Row[Any], family: Row[Any], wanted: int) -> int:
    """Rows for the next shards; returns how many."""
    request = dataset_of(parent)
    at = connection.execute(select(now())).scalar_one()
    shards = list(islice(_following(request, parent, family, at), min(wanted, AT_ONCE)))
    if shards:
        connection.execute(insert(jobs), shards)
        covered = sum(shard["size"] for shard in shards) // request.input.pictures_each
        values = {"made": families.c.made + len(shards), "covered": families.c.covered + covered}
        connection.execute(update(families).where(family_of(parent)).values(values))
    return len(shards)


def _following(
    request: DatasetRequest, parent: Row[Any], family: Row[Any], at: float
) -> Iterator[dict[str, Any]]:
    """The shards behind those that are made. The last one before an extension keeps its size."""
    given, first, place = request.input, family.covered, family.made
    while first < given.samples:
        count = min(given.shard_size or 1, given.samples - first)
        shard = ShardRequest(
            kind=Kind.SHARD,
            model=request.model,
            priority=request.priority,
            timeout_s=request.timeout_s,
            input=ShardInput(dataset=parent.id, first=first, count=count),
        )
        yield _part(parent, place, shard, count * given.pictures_each, at)
        first, place = first + count, place + 1


def make_summary(connection: Connection, parent: Row[Any]) -> None:
    request = SummaryRequest(
        kind=Kind.SUMMARY,
        model=parent.model,
        priority=Priority(parent.priority),
        timeout_s=SUMMARY_S,
        input=SummaryInput(of=parent.id),
    )
    at = connection.scalar(select(now()))
    connection.execute(insert(jobs), [_part(parent, SUMMARY, request, 0, at)])


def _part(parent: Row[Any], place: int, request: JobRequest, size: int, at: Any) -> dict[str, Any]:
    row = new_row(parent.tenant, new_job_id(), request, request.model_dump_json(by_alias=True))
    row |= new_times(at, request.deadline_s)
    due = {"sent_at": at, "next_send_at": at}
    return row | due | {"parent": parent.id, "place": place, "size": size}


def likely(connection: Connection, parent: Row[Any], images: int) -> Needs:
    """Of so many pictures more, by what the parent's latest parts took."""
    latest = (
        select(jobs.c.id, jobs.c.size, jobs.c.metrics)
        .where(of(parent), jobs.c.status == Status.SUCCEEDED, jobs.c.size > 0)
        .order_by(jobs.c.place.desc())
        .limit(LATEST)
    )
    rows = connection.execute(latest).all()
    if not rows:
        return Needs(images)
    made = sum(row.size for row in rows)
    device_ms = sum((row.metrics or {}).get("device_ms", 0) for row in rows)
    theirs = and_(outputs.c.tenant == parent.tenant, outputs.c.job_id.in_([row.id for row in rows]), OURS)
    size = connection.scalar(select(func.sum(outputs.c.size_bytes)).where(theirs)) or 0
    return Needs(images, images * int(size) / made, images * device_ms / 1000 / made)


# --- holding them back -----------------------------------------------------------------------------------


def hold_back(connection: Connection, parent: Row[Any]) -> int:
    """No worker takes those that wait."""
    waiting = and_(of(parent), QUEUED, ~WAITS_HELD)
    return connection.execute(update(jobs).where(waiting).values(lane=HELD_LANE)).rowcount


def let_go(connection: Connection, parent: Row[Any], wanted: int) -> int:
    """Workers may take the first of those that are held."""
    held = and_(of(parent), QUEUED, WAITS_HELD)
    ids = select(jobs.c.id).where(held).order_by(jobs.c.place).limit(wanted)
    values = {"lane": func.substr(jobs.c.lane, len(HELD) + 1), "queued_at": now()} | send_in(0)
    return connection.execute(update(jobs).where(jobs.c.id.in_(ids), held).values(values)).rowcount


def set_paused(connection: Connection, parent: Row[Any], by: str | None) -> Row[Any]:
    paused = update(families).where(family_of(parent)).values(paused=by)
    return connection.execute(paused.returning(families)).one()


# --- counting them ---------------------------------------------------------------------------------------


class Count:
    """The parts of a parent, and their pictures, by status."""

    def __init__(self, connection: Connection, parent: Row[Any]) -> None:
        self.parts: dict[Status, int] = dict.fromkeys(Status, 0)
        self.pictures: dict[Status, int] = dict.fromkeys(Status, 0)
        self.held = 0  # of the queued: those that no worker may take
        held = case((WAITS_HELD, 1), else_=0)
        columns = (jobs.c.status, held.label("held"), func.count(), func.sum(jobs.c.size))
        counted = select(*columns).where(of(parent)).group_by(jobs.c.status, held)
        for status, is_held, parts, size in connection.execute(counted):
            self.parts[Status(status)] += parts
            self.pictures[Status(status)] += int(size or 0)
            self.held += parts if is_held and status == Status.QUEUED else 0

    @property
    def open(self) -> int:
        return self.parts[Status.QUEUED] + self.parts[Status.RUNNING]

    @property
    def waiting(self) -> int:
        return self.parts[Status.QUEUED] - self.held

    @property
    def unsuccessful(self) -> int:
        return sum(self.parts[status] for status in UNSUCCESSFUL)


def under_way(connection: Connection) -> dict[tuple[str, str], int]:
    """By (kind of the parent, their state): the parts of all datasets and batches that are not over. `held`
    are those that wait for others, and `waiting` those that wait for a worker.
    """
    found: dict[tuple[str, str], int] = {}
    parents = select(jobs).where(RUNNING, jobs.c.kind.in_(PARENTS))
    for parent in connection.execute(parents).all():
        count, made = Count(connection, parent), counts(connection, parent) or {}
        unmade = made.get(Status.QUEUED, 0) - count.parts[Status.QUEUED]
        numbers = {status.value: n for status, n in count.parts.items() if status is not Status.QUEUED}
        for name, n in (numbers | {"waiting": count.waiting, "held": count.held + unmade}).items():
            found[parent.kind, name] = found.get((parent.kind, name), 0) + n
    return found


def counts(connection: Connection, row: Row[Any]) -> dict[str, int] | None:
    """Parts by status, with those that have no row yet; None for a job that has none."""
    if row.kind not in PARENTS:
        return None
    family = connection.execute(select(families).where(family_of(row))).one_or_none()
    if family is None:
        return None
    count = Count(connection, row).parts
    count[Status.QUEUED] += max(0, family.parts - family.made)
    return {"total": family.parts} | {status.value: n for status, n in count.items()}


def any_unsuccessful(connection: Connection, parent: Row[Any]) -> bool:
    return Count(connection, parent).unsuccessful > 0


def page(connection: Connection, parent: Row[Any], after: int, limit: int) -> Sequence[Row[Any]]:
    """In the order of their places."""
    wanted = select(jobs).where(of(parent), jobs.c.place > after).order_by(jobs.c.place).limit(limit)
    return connection.execute(wanted).all()


def summary_of(connection: Connection, parent: Row[Any]) -> Row[Any] | None:
    mine = and_(jobs.c.tenant == parent.tenant, jobs.c.parent == parent.id, jobs.c.place == SUMMARY)
    return connection.execute(select(jobs).where(mine)).one_or_none()


def summaries(connection: Connection, rows: Sequence[Row[Any]]) -> dict[str, str]:
    """By the id of its summary: each parent among the rows."""
    ids = [row.id for row in rows if row.kind in PARENTS]
    if not ids:
        return {}
    tenants = {row.tenant for row in rows}
    mine = and_(jobs.c.tenant.in_(tenants), jobs.c.parent.in_(ids), jobs.c.place == SUMMARY)
    return {row.id: row.parent for row in connection.execute(select(jobs.c.id, jobs.c.parent).where(mine))}


# --- forgetting them -------------------------------------------------------------------------------------


def forget_summary(connection: Connection, parent: Row[Any]) -> None:
    _forget(connection, parent, jobs.c.place == SUMMARY)


def forget_all(connection: Connection, parent: Row[Any]) -> None:
    """Remove the rows of all parts; the reaper removes their files."""
    prefix = connection.scalar(select(families.c.prefix).where(family_of(parent)))
    if prefix is not None:
        where = {"tenant": parent.tenant, "prefix": dataset_prefix(parent.tenant, prefix)}
        connection.execute(insert(removals).values(where | {"created_at": now()}))
    _forget(connection, parent)


def _forget(connection: Connection, parent: Row[Any], *which: ColumnElement[bool]) -> None:
    mine = and_(jobs.c.tenant == parent.tenant, jobs.c.parent == parent.id, *which)
    ids = select(jobs.c.id).where(mine)
    theirs = and_(outputs.c.tenant == parent.tenant, outputs.c.job_id.in_(ids), ~outputs.c.gone, OURS)
    size = connection.scalar(select(func.sum(outputs.c.size_bytes)).where(theirs)) or 0
    stored(connection, {parent.tenant: -int(size)})
    start = job_prefix(parent.tenant, "").removesuffix("/")
    doomed = select(jobs.c.tenant, start + jobs.c.id + "/", now()).where(mine)
    connection.execute(insert(removals).from_select(["tenant", "prefix", "created_at"], doomed))
    connection.execute(delete(jobs).where(mine))
