"""How callers steer a job that is done in parts: pause, resume, retry what failed, extend a dataset."""

from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, and_, func, select, update

from jobs.dataset import MAX_SHARDS, shards_of
from jobs.errors import Conflict, LimitExceeded
from jobs.schemas import Kind, Status, request_adapter
from jobs.store import parts
from jobs.store.change import change, send_in
from jobs.store.database import now
from jobs.store.parts import HELD_LANE, UNSUCCESSFUL, family_of, of
from jobs.store.quota import Quotas, admit, hold
from jobs.store.tables import families, holds, jobs


def pause(connection: Connection, row: Row[Any], *, paused: bool) -> None:
    """Shards under way end; no other begins. Raises Conflict for what is over or has no shards."""
    _refuse_but_datasets(row)
    if row.status != Status.RUNNING:
        raise Conflict(f"the job has {row.status} already", code="already_finished")
    parts.set_paused(connection, row, "caller" if paused else None)


def retry(connection: Connection, row: Row[Any], *, defaults: Quotas) -> None:
    """Queue the unsuccessful parts again; a parent that has ended runs again. Raises QuotaExceeded."""
    again = and_(of(row), jobs.c.status.in_(UNSUCCESSFUL))
    pictures = int(connection.scalar(select(func.sum(jobs.c.size)).where(again)) or 0)
    over = Status(row.status).terminal
    if over and row.kind == Kind.DATASET:  # shards that were never made
        given, family = parts.dataset_of(row).input, _locked(connection, row)
        pictures += (given.samples - family.covered) * given.pictures_each
    _reopen(connection, row, pictures, defaults)
    names = "progress result error metrics worker checkpoint_key started_at finished_at expires_at"
    empty: dict[str, Any] = dict.fromkeys(names.split())
    change(
        connection,
        again,
        status=Status.QUEUED,
        lane=HELD_LANE,  # as many at a time as are wanted are let go
        cancel_requested=False,
        attempts=0,
        losses=0,
        queued_at=now(),
        deadline_at=None,
        swept=False,
        **empty,
        **send_in(0),
    )


def extend(connection: Connection, row: Row[Any], more: int, *, defaults: Quotas) -> None:
    """So many samples more; what is there stays as it is. Raises Conflict, LimitExceeded, QuotaExceeded."""
    _refuse_but_datasets(row)
    request = parts.dataset_of(row)
    given = request.input
    if given.count is None:
        raise Conflict("its seeds were given: make another dataset of the further ones", code="no_shards")
    if row.cancel_requested or row.status in UNSUCCESSFUL:
        raise Conflict("the dataset is not whole: retry it first", code="not_finished")
    family, count = _locked(connection, row), given.count + more
    shards = family.made + shards_of(count - family.covered, given.shard_size or 1)
    if shards > MAX_SHARDS:
        raise LimitExceeded(f"A dataset has at most {MAX_SHARDS} shards.")
    longer = request.model_copy(update={"input": given.model_copy(update={"count": count})})
    body = longer.model_dump_json(by_alias=True)
    request_adapter.validate_json(body)  # it may be too long now
    _reopen(connection, row, more * given.pictures_each, defaults)
    mine = and_(jobs.c.tenant == row.tenant, jobs.c.id == row.id)
    connection.execute(update(jobs).where(mine).values(request=body, seq=jobs.c.seq + 1))
    connection.execute(update(families).where(family_of(row)).values(parts=shards))


def _refuse_but_datasets(row: Row[Any]) -> None:
    if row.kind != Kind.DATASET:
        raise Conflict(f"the job is of the kind {row.kind}: only datasets have shards", code="no_shards")


def _reopen(connection: Connection, row: Row[Any], pictures: int, defaults: Quotas) -> None:
    """Take hold of further pictures, which will take what those took that are made. A parent that has ended
    runs again, and its summary is forgotten.
    """
    likely = partial(parts.likely, connection, row, pictures)
    needs = admit(connection, row.tenant, pictures, defaults=defaults, max_queued=None, asked=likely)
    if not Status(row.status).terminal:
        mine = and_(holds.c.tenant == row.tenant, holds.c.job_id == row.id)
        connection.execute(update(holds).where(mine).values(images=holds.c.images + pictures))
    else:
        mine = and_(jobs.c.tenant == row.tenant, jobs.c.id == row.id, jobs.c.status == row.status)
        values: dict[str, Any] = {
            "finished_at": None,
            "error": None,
            "result": None,
            "metrics": None,
            "swept": False,
        }
        if not change(connection, mine, status=Status.RUNNING, cancel_requested=False, **values):
            raise Conflict("the job has just changed", code="in_progress")
        hold(connection, row.tenant, row.id, needs)
    # The record of the end, if one is under way or written, is not true any more.
    parts.forget_summary(connection, row)


def _locked(connection: Connection, row: Row[Any]) -> Row[Any]:
    return connection.execute(select(families).where(family_of(row)).with_for_update()).one()
