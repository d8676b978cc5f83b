"""Accepting jobs: one row for each, whatever comes twice or at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.errors import Conflict, IdempotencyKeyReused, NotFound, QueueFull
from jobs.schemas import PAYLOAD_VERSION, Status
from jobs.store import JobStore
from tests.jobs.given import TENANT, ask, claim, picture, submit


def test_a_job_is_queued_with_every_default_filled_in(store):
    row, created = store.submit(TENANT, ask(metadata={"customer": "42"}, priority="high"))

    assert created and row.status is Status.QUEUED and row.seq == 1 and row.fence == 0
    assert row.request == ask(metadata={"customer": "42"}, priority="high")
    assert row.lane == "0-high.fast" and row.metadata == {"customer": "42"}
    assert store.get(TENANT, row.id) == row


def test_another_tenant_sees_nothing_of_it(store):
    row = submit(store)

    for call in (store.get, store.cancel, store.retry, store.delete, store.events, store.seq):
        with pytest.raises(NotFound):
            call("other", row.id)
    assert store.list("other") == []
    assert store.get(TENANT, row.id).status is Status.QUEUED


def test_the_same_key_and_body_give_the_same_job(store):
    first, created = store.submit(TENANT, ask(), idempotency_key="k")
    again, replayed = store.submit(TENANT, ask(), idempotency_key="k")

    assert created and not replayed and again.id == first.id
    assert len(store.list(TENANT)) == 1


def test_a_replay_shows_how_the_job_stands_now(store):
    row, _ = store.submit(TENANT, ask(), idempotency_key="k")
    held = claim(store, row)
    store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])

    again, _ = store.submit(TENANT, ask(), idempotency_key="k")

    assert again.status is Status.SUCCEEDED and len(again.outputs) == 1


def test_the_same_key_with_another_body_is_refused(store):
    store.submit(TENANT, ask(), idempotency_key="k")

    with pytest.raises(IdempotencyKeyReused):
        store.submit(TENANT, ask(priority="low"), idempotency_key="k")
    assert len(store.list(TENANT)) == 1


def test_the_caller_may_say_what_identifies_a_body(store):
    store.submit(TENANT, ask(), idempotency_key="k", body_hash="a")

    assert not store.submit(TENANT, ask(priority="low"), idempotency_key="k", body_hash="a")[1]
    with pytest.raises(IdempotencyKeyReused):
        store.submit(TENANT, ask(), idempotency_key="k", body_hash="b")


def test_keys_of_two_tenants_are_two_keys(store):
    first, _ = store.submit(TENANT, ask(), idempotency_key="k")
    second, created = store.submit("other", ask(priority="low"), idempotency_key="k")

    assert created and second.id != first.id


def test_a_key_is_free_again_after_a_day(store, let_keys_age):
    first, _ = store.submit(TENANT, ask(), idempotency_key="k")
    let_keys_age(24 * 3600 + 1)

    second, created = store.submit(TENANT, ask(priority="low"), idempotency_key="k")

    assert created and second.id != first.id
    assert not store.submit(TENANT, ask(priority="low"), idempotency_key="k")[1]


def test_a_deleted_job_frees_its_key(store):
    first, _ = store.submit(TENANT, ask(), idempotency_key="k")
    store.cancel(TENANT, first.id)
    store.delete(TENANT, first.id)

    assert store.submit(TENANT, ask(), idempotency_key="k")[1]


def test_fifty_parallel_submits_with_one_key_make_one_job(store):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: store.submit(TENANT, ask(), idempotency_key="k"), range(50)))

    assert len({row.id for row, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert len(store.list(TENANT)) == 1


def test_a_full_queue_refuses_and_leaves_no_trace(store):
    for _ in range(3):
        store.submit(TENANT, ask(), max_queued=3)

    with pytest.raises(QueueFull):
        store.submit(TENANT, ask(), idempotency_key="k", max_queued=3)
    assert len(store.list(TENANT)) == 3
    assert store.submit(TENANT, ask(), idempotency_key="k", max_queued=4)[1]  # the key was not used up


def test_a_full_queue_still_replays(store):
    first, _ = store.submit(TENANT, ask(), idempotency_key="k", max_queued=1)

    assert store.submit(TENANT, ask(), idempotency_key="k", max_queued=1)[0].id == first.id


def test_running_jobs_and_other_tenants_do_not_fill_the_queue(store):
    claim(store, submit(store))
    store.submit("other", ask())

    assert store.submit(TENANT, ask(), max_queued=1)[1]


def test_parallel_submits_do_not_overfill_the_queue(store: JobStore):
    def attempt(_: int) -> bool:
        try:
            return store.submit(TENANT, ask(), max_queued=10)[1]
        except QueueFull:
            return False

    with ThreadPoolExecutor(30) as pool:
        accepted = sum(pool.map(attempt, range(60)))

    assert accepted == 10 == len(store.list(TENANT))


def test_depths_count_the_waiting_by_lane(store):
    submit(store)
    submit(store)
    submit(store, priority="low")
    claim(store, submit(store))

    assert store.depths() == {"1-normal.fast": 2, "2-low.fast": 1}
    assert store.running() == 1


def test_the_oldest_wait_is_measured_by_the_database(store, later):
    assert store.oldest_queued_s() == 0
    row = submit(store)
    later(row.id, 100)

    assert 100 <= store.oldest_queued_s() < 110


@pytest.mark.parametrize("ending", [Status.FAILED, Status.CANCELED])
def test_a_retry_starts_a_new_series(store, ending):
    row = submit(store, deadline_s=100)
    held = claim(store, row)
    store.heartbeat(held, checkpoint_key=f"{row.prefix}ckpt/1-5.safetensors")
    store.finish(held, ending, outputs=[picture(held)], result={"a": 1})

    again = store.retry(TENANT, row.id)

    assert again.status is Status.QUEUED and again.attempts == 0 and again.outputs == ()
    assert again.result is None and again.finished_at is None and again.checkpoint_key is None
    assert again.deadline_at > row.deadline_at and again.created_at == row.created_at
    assert claim(store, row).fence == held.fence + 1  # a fence is never given out twice


def test_only_what_went_wrong_can_be_retried(store):
    row = submit(store)

    def refused() -> str:
        with pytest.raises(Conflict) as error:
            store.retry(TENANT, row.id)
        return error.value.code

    assert refused() == "not_finished"
    held = claim(store, row)
    assert refused() == "not_finished"
    store.finish(held, Status.SUCCEEDED)
    assert refused() == "already_finished"


def test_a_terminal_job_is_deleted_with_all_it_had(store):
    row = submit(store)
    held = claim(store, row)
    store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])

    assert store.delete(TENANT, row.id) == [picture(held).key]
    assert store.prefixes_to_remove() == [(TENANT, row.prefix)]
    for call in (store.get, store.delete, store.events):
        with pytest.raises(NotFound):
            call(TENANT, row.id)


def test_a_job_that_is_not_over_cannot_be_deleted(store):
    row = submit(store)
    for _ in range(2):
        with pytest.raises(Conflict) as refused:
            store.delete(TENANT, row.id)
        assert refused.value.code == "not_finished"
        store.claim(row.id, "w", payload_version=PAYLOAD_VERSION)
