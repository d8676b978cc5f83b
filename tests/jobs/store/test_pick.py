"""Whose turn it is, on both databases: fewest running, served longest ago, most urgent."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import insert, select, update

from jobs.lanes import AHEAD_S, LANES
from jobs.schemas import PAYLOAD_VERSION, Kind, Status
from jobs.store import Claim, JobRow, JobStore
from jobs.store.tables import holds, jobs
from tests.jobs.given import ask, claim

KINDS = tuple(Kind)


def add(store: JobStore, tenant: str, **given) -> JobRow:
    return store.submit(tenant, ask(**given))[0]


def pick(store: JobStore, hint: str = "job_of_no_one", **options) -> Claim | None:
    given = {"payload_version": PAYLOAD_VERSION, "kinds": KINDS, "lanes": LANES} | options
    return store.claim_fairest(hint, "w1", **given)


def end(store: JobStore, held: Claim) -> None:
    assert store.finish(held, Status.SUCCEEDED)


def flood(store: JobStore, row: JobRow, count: int) -> None:
    """`count` more jobs like `row`, by one statement; each waits as long as `row`."""
    with store.database.write() as connection:
        one = connection.execute(select(jobs).where(jobs.c.id == row.id)).one()._mapping
        ids = [f"{row.id}-{n:04}" for n in range(count)]
        connection.execute(insert(jobs).values([dict(one) | {"id": id} for id in ids]))
        rows = [{"tenant": row.tenant, "job_id": id, "images": 1} for id in ids]
        connection.execute(insert(holds).values(rows))


def test_a_message_brings_the_oldest_job_whichever_it_names(store):
    first, second = add(store, "a"), add(store, "a")
    held = pick(store, second.id)
    assert (held.job_id, held.fence, held.worker) == (first.id, 1, "w1")
    assert store.get("a", first.id).status is Status.RUNNING
    assert pick(store, first.id).job_id == second.id  # came twice, and did what the other had to do
    assert pick(store, first.id) is None
    assert pick(store) is None


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_one_job_beside_a_thousand_of_another_tenant_is_the_next_or_the_one_after(store, slots):
    flood(store, add(store, "big"), 999)
    running = [pick(store) for _ in range(slots)]
    assert {held.row.tenant for held in running} == {"big"}
    small = add(store, "small")
    order = []
    for _ in range(2):
        end(store, running.pop(0))
        running.append(pick(store))
        order.append(running[-1].job_id)
    assert small.id in order


@pytest.mark.parametrize("slots", [1, 4])
def test_tenants_with_much_to_do_get_the_same_share(store, slots):
    for tenant, count in (("a", 1000), ("b", 18), ("c", 18)):
        flood(store, add(store, tenant), count - 1)
    chance, running, served = random.Random(1), [], Counter()
    for _ in range(36):
        while len(running) < slots:
            running.append(pick(store))
            served[running[-1].row.tenant] += 1
        end(store, running.pop(chance.randrange(len(running))))
    assert max(served.values()) - min(served.values()) <= slots


def test_high_priority_is_no_way_past_another_tenant(store):
    for _ in range(10):
        add(store, "pushy", priority="high")
    add(store, "meek", priority="low")
    picked = [pick(store).row.tenant for _ in range(4)]
    assert picked.index("meek") <= 1


def test_of_one_tenant_the_more_urgent_job_comes_first(store, later):
    rows = {priority: add(store, "a", priority=priority) for priority in ("low", "normal", "high")}
    assert [pick(store).row.priority for _ in range(3)] == ["high", "normal", "low"]
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("waits", "priority", "against", "first"),
    [(50, "normal", "high", "high"), (70, "normal", "high", "normal"), (590, "low", "high", "high"),
     (700, "low", "high", "low"), (700, "low", "normal", "low")],
)  # fmt: skip
def test_who_has_waited_long_goes_before_a_higher_priority(store, later, waits, priority, against, first):
    old = add(store, "a", priority=priority)
    later(old.id, waits)
    add(store, "a", priority=against)
    assert pick(store).row.priority == first


def test_every_lane_knows_how_urgent_it_is():
    assert set(AHEAD_S) == set(LANES)
    assert list(AHEAD_S.values()) == sorted(AHEAD_S.values(), reverse=True)


def test_a_worker_gets_nothing_from_lanes_or_of_kinds_that_are_not_its_own(store):
    row = add(store, "a")
    assert pick(store, row.id, lanes=["0-high.fast"]) is None
    assert pick(store, row.id, kinds=["invert"]) is None
    assert pick(store, row.id, payload_version=0) is None
    assert pick(store, lanes=[row.lane]).job_id == row.id


def test_a_job_that_is_held_back_after_a_fault_is_not_picked_early(store, later):
    row = add(store, "a")
    store.release(pick(store), reason="retry")
    assert pick(store) is None
    later(row.id, 3.1)
    assert pick(store).job_id == row.id


def test_a_job_given_back_by_a_draining_worker_is_picked_at_once(store):
    row = add(store, "a")
    store.release(pick(store), reason="drain")
    assert pick(store).job_id == row.id


def test_canceled_overdue_and_exhausted_jobs_are_passed_over(store, later):
    canceled, overdue, spent = add(store, "a"), add(store, "a", deadline_s=5), add(store, "a")
    store.cancel("a", canceled.id)
    later(overdue.id, 6)
    with store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == spent.id).values(attempts=3))
    good = add(store, "a")
    assert pick(store).job_id == good.id
    assert pick(store) is None


def test_the_message_of_a_job_whose_worker_is_silent_brings_that_job(store, later):
    silent = add(store, "a")
    held = claim(store, silent)
    add(store, "b")
    assert pick(store, silent.id).row.tenant == "b"  # its lease is not over
    later(silent.id, 31)
    add(store, "b")
    taken = pick(store, silent.id)
    assert (taken.job_id, taken.fence, taken.row.losses) == (silent.id, held.fence + 1, 1)


def test_many_workers_at_once_take_each_job_once(store):
    ids = {add(store, tenant).id for tenant in "abcd" for _ in range(8)}
    with ThreadPoolExecutor(8) as pool:
        picked = list(pool.map(lambda _: pick(store), range(40)))
    taken = [held.job_id for held in picked if held is not None]
    assert len(taken) == len(set(taken))
    rest = []  # a worker may find nothing while others hold all that it looked at
    while (held := pick(store)) is not None:
        rest.append(held.job_id)
    assert set(taken) | set(rest) == ids


def test_tenants_without_waiting_jobs_do_not_matter(store):
    for tenant in "abcdef":
        end(store, claim(store, add(store, tenant)))
    row = add(store, "d")
    assert pick(store).job_id == row.id
