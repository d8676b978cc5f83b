"""Holds and counters, on both databases: exact where they can be, nothing left when nothing is in flight."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from jobs.errors import Conflict, LimitExceeded, QuotaExceeded
from jobs.fit import pictures
from jobs.schemas import Progress, Status
from jobs.store import Claim, ImageRow, JobRow, JobStore, ModelRow, OutputRow, Quotas
from jobs.store.access import Access
from jobs.store.tables import holds, images, jobs, models, outputs, usage
from tests.jobs.given import TENANT, ask, claim, picture, submit


def seeds(count: int) -> dict:
    return {"input": {"source": {"seeds": f"0-{count - 1}"}}}


def held(store: JobStore) -> dict[str, int]:
    with store.database.read() as connection:
        return {row.job_id: row.images for row in connection.execute(select(holds))}


def put(claim: Claim, name: str, size: int, role: str = "image") -> OutputRow:
    key = f"{claim.row.prefix}a/{claim.fence}/{name}"
    return OutputRow(name, role, key, "image/png", size_bytes=size, sha256="0" * 64)


def test_a_job_holds_its_pictures_from_its_submit_to_its_end(store):
    row = submit(store, **seeds(5))
    assert held(store) == {row.id: 5}
    got = claim(store, row)
    assert held(store) == {row.id: 5}
    assert store.finish(got, Status.SUCCEEDED, metrics={"device_ms": 1500.0})
    assert held(store) == {}
    now = store.usage(TENANT)
    assert (now.jobs, now.images_held, now.images, now.jobs_ended, now.device_s) == (0, 0, 5, 1, 1.5)


def _cancel_queued(store: JobStore, row: JobRow) -> None:
    store.cancel(TENANT, row.id)


def _cancel_running(store: JobStore, row: JobRow) -> None:
    got = claim(store, row)
    store.cancel(TENANT, row.id)
    assert held(store)
    store.finish(got, Status.CANCELED)


def _fail(store: JobStore, row: JobRow) -> None:
    store.finish(claim(store, row), Status.FAILED)


def _lose_for_good(store: JobStore, row: JobRow) -> None:
    for _ in range(4):
        store.release(claim(store, row), reason="lost")


def _fail_thrice(store: JobStore, row: JobRow) -> None:
    for _ in range(3):
        store.release(claim(store, row), reason="retry")


def _cancel_orphan(store: JobStore, row: JobRow) -> None:
    claim(store, row)
    store.cancel(TENANT, row.id)
    _age(store, 100)
    assert store.cancel_orphans() == 1


def _expire(store: JobStore, row: JobRow) -> None:
    _age(store, 2000)
    assert store.expire_deadlines() == 1


def _exhaust(store: JobStore, row: JobRow) -> None:
    with store.database.write() as connection:
        connection.execute(update(jobs).values(attempts=3))
    assert store.fail_exhausted() == 1


def _age(store: JobStore, seconds: float) -> None:
    with store.database.write() as connection:
        names = ("lease_until", "deadline_at")
        connection.execute(update(jobs).values({name: jobs.c[name] - seconds for name in names}))


WAYS = [
    _cancel_queued,
    _cancel_running,
    _fail,
    _lose_for_good,
    _fail_thrice,
    _cancel_orphan,
    _expire,
    _exhaust,
]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__.strip("_") for way in WAYS])
def test_whatever_ends_a_job_releases_its_hold_and_counts_no_picture(store, way):
    row = submit(store, deadline_s=1000, **seeds(5))
    assert held(store) == {row.id: 5}
    way(store, row)
    assert store.get(TENANT, row.id).terminal
    assert held(store) == {}
    now = store.usage(TENANT)
    assert (now.jobs, now.images, now.jobs_ended) == (0, 0, 1)


def test_what_a_canceled_job_made_counts(store):
    got = claim(store, submit(store, **seeds(5)))
    made = [put(got, "a.png", 10), put(got, "b.png", 10), put(got, "grid.png", 10, role="grid")]
    store.finish(got, Status.CANCELED, outputs=made, metrics={"device_ms": 100.0})
    now = store.usage(TENANT)
    assert (now.images, now.device_s, now.stored_bytes) == (2, 0.1, 30)


def test_a_job_that_makes_more_than_could_be_foreseen_counts_what_it_made(store):
    source = {"artifact": {"job": submit(store).id, "name": "latents.safetensors"}}
    got = claim(store, submit(store, input={"source": source}))
    store.finish(got, Status.SUCCEEDED, outputs=[put(got, f"{n}.png", 1) for n in range(7)])
    assert store.usage(TENANT).images == 7


def test_a_retry_holds_again_and_is_refused_where_a_submit_would_be(store):
    row = submit(store, **seeds(5))
    store.finish(claim(store, row), Status.FAILED)
    store.retry(TENANT, row.id)
    assert held(store) == {row.id: 5}
    store.cancel(TENANT, row.id)
    store.quotas = Quotas(max_images_per_job=4)
    with pytest.raises(LimitExceeded):
        store.retry(TENANT, row.id)
    assert held(store) == {} and store.get(TENANT, row.id).status is Status.CANCELED


def test_jobs_in_flight_are_counted_until_they_end(store):
    store.quotas = Quotas(max_jobs=2)
    first, _ = submit(store), submit(store)
    got = claim(store, first)
    with pytest.raises(QuotaExceeded, match="2 jobs are queued or running") as refused:
        submit(store)
    assert refused.value.retry_after_s == 5
    store.submit("other", ask())  # another tenant has its own
    store.finish(got, Status.FAILED)
    submit(store)


def test_pictures_of_a_day_are_those_made_and_those_ordered(store):
    store.quotas = Quotas(max_images_per_day=10)
    with pytest.raises(LimitExceeded):  # it would never be possible
        submit(store, **seeds(11))
    store.finish(claim(store, submit(store, **seeds(6))), Status.SUCCEEDED)
    waiting = submit(store, **seeds(3))
    with pytest.raises(QuotaExceeded, match="9 pictures") as refused:
        submit(store, **seeds(2))
    assert 0 < refused.value.retry_after_s <= 86401
    store.cancel(TENANT, waiting.id)
    submit(store, **seeds(4))


def test_yesterdays_pictures_and_device_seconds_do_not_count_today(store):
    store.quotas = Quotas(max_images_per_day=10, max_device_s_per_day=10)
    metrics = {"device_ms": 10_000.0}
    store.finish(claim(store, submit(store, **seeds(9))), Status.SUCCEEDED, metrics=metrics)
    for count in (9, 1):
        with pytest.raises(QuotaExceeded):
            submit(store, **seeds(count))
    with store.database.write() as connection:
        connection.execute(update(usage).values(day=usage.c.day - 1))
    submit(store, **seeds(9))
    assert store.usage(TENANT).device_s == 0


def test_a_full_store_takes_no_more_jobs_and_files(store):
    store.quotas = Quotas(max_bytes=100)
    got = claim(store, submit(store))
    store.finish(got, Status.SUCCEEDED, outputs=[put(got, "a.png", 99)])
    store.refuse_bytes(TENANT, 1)
    with pytest.raises(QuotaExceeded):
        store.refuse_bytes(TENANT, 2)
    got = claim(store, submit(store))
    store.finish(got, Status.SUCCEEDED, outputs=[put(got, "a.png", 1)])
    with pytest.raises(QuotaExceeded, match="100 bytes"):
        submit(store)
    store.delete(TENANT, got.job_id)
    submit(store)


def test_a_tenants_own_limits_come_before_the_settings(store):
    store.quotas = Quotas(max_jobs=1, max_images_per_job=3)
    access = Access(store.database, b"pepper")
    access.create_tenant(TENANT, {"max_jobs": 2})
    submit(store), submit(store)
    with pytest.raises(QuotaExceeded):
        submit(store)
    access.set_limits(TENANT, {"max_jobs": 0})
    with pytest.raises(QuotaExceeded):
        submit(store)
    with pytest.raises(LimitExceeded):
        submit(store, **seeds(4))


def test_a_refused_submit_leaves_nothing(store):
    store.quotas = Quotas(max_jobs=1)
    row = submit(store)
    with pytest.raises(QuotaExceeded):
        store.submit(TENANT, ask(), idempotency_key="k")
    assert [found.id for found in store.list(TENANT)] == [row.id]
    assert set(held(store)) == {row.id}
    store.cancel(TENANT, row.id)
    assert store.submit(TENANT, ask(), idempotency_key="k")[1]  # the key was not taken


def test_a_replay_by_its_key_holds_nothing_and_is_never_refused(store):
    store.quotas = Quotas(max_jobs=1)
    row, _ = store.submit(TENANT, ask(), idempotency_key="k")
    assert store.submit(TENANT, ask(), idempotency_key="k") == (row, False)
    assert set(held(store)) == {row.id}


@pytest.mark.parametrize("limit", ["max_jobs", "max_images_per_day"])
def test_submits_at_once_never_exceed_a_limit(store, limit):
    store.quotas = Quotas(**{limit: 7})

    def one(_: int) -> bool:
        try:
            submit(store)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(one, range(24)))
    assert accepted == len(held(store)) == 7


def test_the_bytes_that_are_counted_are_the_bytes_that_are_there(store):
    """Any order of publishing, sweeping, retrying, deleting, uploading; the slow twin adds up the rows."""
    chance = random.Random(7)
    rows = [submit(store) for _ in range(6)]
    for step in range(80):
        row = store.get(TENANT, chance.choice(rows).id) if rows else None
        match chance.randrange(7):
            case 0:
                image = f"img_{chance.randrange(5):064}"
                store.put_image(TENANT, ImageRow(image, "k", 1, 1, "image/png", 7, image[4:]))
            case 1:
                name = f"m{chance.randrange(3)}"
                store.put_model(TENANT, ModelRow(name, "0" * 64, "p/", {"size_bytes": 1000}))
            case 2:
                rows.append(submit(store))
            case 3 if row and row.status is Status.QUEUED:
                got = claim(store, row)
                ends = chance.choice([Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
                store.finish(
                    got, ends, outputs=[put(got, f"{n}", 10 + n) for n in range(chance.randrange(4))]
                )
            case 4 if row and row.terminal and row.status is not Status.SUCCEEDED:
                store.retry(TENANT, row.id)
            case 5 if row and row.terminal:
                store.delete(TENANT, row.id)
                rows = [other for other in rows if other.id != row.id]
            case 6 if row:
                with store.database.write() as connection:
                    gone = outputs.c.job_id == row.id
                    connection.execute(update(outputs).where(gone).values(expires_at=1.0))
                store.sweep_artifacts()
        assert store.usage(TENANT).stored_bytes == _bytes_there(store), step
    assert _bytes_there(store) > 0


def _bytes_there(store: JobStore) -> int:
    with store.database.read() as connection:
        kept = connection.scalar(select(func.sum(outputs.c.size_bytes)).where(~outputs.c.gone)) or 0
        uploaded = connection.scalar(select(func.sum(images.c.size_bytes))) or 0
        cards = connection.scalars(select(models.c.card))
        return kept + uploaded + sum(card["size_bytes"] for card in cards)


def test_a_job_that_is_gone_holds_nothing(store):
    row = submit(store)
    store.cancel(TENANT, row.id)
    store.delete(TENANT, row.id)
    assert held(store) == {}
    assert store.usage(TENANT).jobs_ended == 1  # what was used stays used


def test_a_finish_that_came_too_late_settles_nothing(store):
    row = submit(store, **seeds(3))
    stale = claim(store, row)
    _age(store, 100)
    got = claim(store, row)
    assert not store.finish(stale, Status.SUCCEEDED, outputs=[picture(stale)])
    assert held(store) == {row.id: 3} and store.usage(TENANT).stored_bytes == 0
    store.heartbeat(got, Progress(value=0.5))
    assert store.finish(got, Status.SUCCEEDED)
    with pytest.raises(Conflict):
        store.cancel(TENANT, row.id)
    assert store.usage(TENANT).images == 3


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 1),
        (seeds(64), 64),
        ({"input": {"mixing": {"rows": [1, 2], "columns": [3, 4, 5], "layers": "0-3"}}}, 6),
        ({"input": {"source": {"seeds": [1, 2]}, "interpolate": {"frames": 30}}}, 30),
        ({"input": {"source": {"latents": {"space": "z", "values": [[0.0], [1.0]]}}}}, 2),
        ({"input": {"source": {"artifact": {"job": "job_" + "0" * 26, "name": "a"}}}}, 1),
        ({"kind": "invert", "input": {"images": ["img_" + "0" * 64] * 3}}, 3),
        (
            {
                "kind": "edit",
                "input": {
                    "source": {"seeds": [1, 2]},
                    "operations": [{"op": "direction", "name": "smile"}],
                    "sweep": {"strengths": [-1, 0, 1]},
                },
            },
            6,
        ),
    ],
)
def test_the_pictures_of_a_job_are_known_before_it_runs(given, count):
    assert pictures(ask(**given)) == count
