"""Whose turn it is: the fairest of the jobs that wait, for a worker that has a free place.

A message says that something waits, not what comes next. First comes the tenant with the fewest running
jobs; among equals the one that was served longest ago; and of its jobs the one that is most urgent: the
oldest, where a lane of a higher priority, or of short work, is ahead by some seconds (`jobs.lanes.AHEAD_S`).
So nothing that any tenant sends keeps another waiting, and no priority waits for ever.
"""

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    select,
    true,
    union_all,
    update,
)

from jobs.lanes import AHEAD_S
from jobs.schemas import Status
from jobs.store.change import QUEUED, WORKED_ON
from jobs.store.database import now, upsert
from jobs.store.rows import Claim
from jobs.store.tables import jobs, turns
from jobs.store.worker import Limits, claim, fresh

_STATUS = select(jobs.c.status).where(jobs.c.id == bindparam("job"))
_RUNNING = select(jobs.c.tenant, func.count()).where(WORKED_ON).group_by(jobs.c.tenant)


def claim_fairest(
    connection: Connection,
    hint: str,
    worker: str,
    *,
    payload_version: int,
    kinds: Collection[str],
    lanes: Collection[str],
    limits: Limits,
) -> Claim | None:
    """The job `hint`, if its worker has fallen silent; else the fairest that waits in `lanes`; else None."""
    status = connection.scalar(_STATUS, {"job": hint})
    if status == Status.RUNNING:
        taken = claim(connection, hint, worker, payload_version=payload_version, limits=limits)
        if taken is not None:
            return taken
    questions = _questions(frozenset(lanes), frozenset(kinds), payload_version, limits)
    for tenant, lane in _turns(connection, questions.heads):
        # What another worker is just taking is passed over, not waited for.
        job_id = connection.scalar(questions.first, {"of": tenant, "in": lane})
        if job_id is None:
            continue
        taken = claim(connection, job_id, worker, payload_version=payload_version, limits=limits)
        if taken is not None:
            _serve(connection, tenant)
            return taken
    return None


class Questions(NamedTuple):
    """Two statements, for building them takes longer than asking them."""

    heads: Select[Any]
    """Every (tenant, lane) in which a job can be taken; since when it waits, when the tenant was served."""
    first: Select[Any]
    """The job that waits longest of those of the tenant `of` in the lane `in`, locked."""


@lru_cache(maxsize=16)
def _questions(
    lanes: frozenset[str], kinds: frozenset[str], payload_version: int, limits: Limits
) -> Questions:
    able = and_(
        QUEUED,
        fresh(limits),
        jobs.c.queued_at <= now(),
        jobs.c.payload_version <= payload_version,
        jobs.c.kind.in_(sorted(kinds)),
    )
    waiting = _tenants()
    lane = union_all(*(select(literal(name).label("lane")) for name in sorted(lanes))).subquery("lanes")
    here = and_(jobs.c.tenant == waiting.c.tenant, jobs.c.lane == lane.c.lane, able)
    # Not min(), which would read them all: in this order the index gives the oldest first.
    oldest = select(jobs.c.queued_at).where(here).order_by(jobs.c.queued_at).limit(1)
    served = select(turns.c.served_at).where(turns.c.tenant == waiting.c.tenant)
    heads = select(
        waiting.c.tenant,
        lane.c.lane,
        oldest.scalar_subquery().label("queued_at"),
        func.coalesce(served.scalar_subquery(), 0).label("served_at"),
    )
    heads = heads.select_from(waiting.join(lane, true())).where(waiting.c.tenant.is_not(None))
    mine = and_(jobs.c.tenant == bindparam("of"), jobs.c.lane == bindparam("in"), able)
    first = select(jobs.c.id).where(mine).order_by(jobs.c.queued_at).limit(1)
    return Questions(heads, first.with_for_update(skip_locked=True))


def _turns(connection: Connection, heads: Select[Any]) -> Iterator[tuple[str, str]]:
    """Every (tenant, lane) in which a job waits, the fairest first."""
    found = [row for row in connection.execute(heads) if row.queued_at is not None]
    several = len({row.tenant for row in found}) > 1
    running = {tenant: count for tenant, count in connection.execute(_RUNNING)} if several else {}

    def rank(row: Any) -> tuple[int, float, float]:
        return running.get(row.tenant, 0), row.served_at, row.queued_at - AHEAD_S[row.lane]

    for row in sorted(found, key=rank):
        yield row.tenant, row.lane


def _tenants() -> CTE:
    """Tenants with waiting jobs, each found by one look into the index, however many jobs it has."""
    first = select(func.min(jobs.c.tenant).label("tenant")).where(QUEUED).cte("waiting", recursive=True)
    others = jobs.alias()
    waits = others.c.status == literal_column(f"'{Status.QUEUED}'")
    following = select(func.min(others.c.tenant)).where(waits, others.c.tenant > first.c.tenant)
    return first.union_all(select(following.scalar_subquery()).where(first.c.tenant.is_not(None)))


_FREE = select(turns.c.tenant).where(turns.c.tenant == bindparam("of")).with_for_update(skip_locked=True)
_SERVE = update(turns).where(turns.c.tenant.in_(_FREE)).values(served_at=now())


def _serve(connection: Connection, tenant: str) -> None:
    """The tenant was served now. Claims of one tenant do not wait for each other here."""
    if not connection.execute(_SERVE, {"of": tenant}).rowcount:
        first = upsert(connection, turns).values(tenant=tenant, served_at=now())
        connection.execute(first.on_conflict_do_nothing())
