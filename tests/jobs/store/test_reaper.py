"""What has gone silent comes back, and what is not wanted goes."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from jobs.schemas import PAYLOAD_VERSION, Status
from jobs.store import Limits
from jobs.store.tables import jobs
from tests.jobs.given import LIMITS, TENANT, claim, picture, submit

OVERDUE = LIMITS.lease_s + 1


def due(store, **options):
    return [job.id for job in store.due_for_send(**options)]


def pause(store):
    """Seconds between the last send of the only job and the next."""
    with store.database.read() as connection:
        return connection.scalar(select(jobs.c.next_send_at - jobs.c.sent_at))


def test_a_silent_job_is_sent_again_with_growing_pauses(store, later):
    row = submit(store)
    assert due(store) == []  # the gateway has just sent it

    pauses = []
    for _ in range(9):
        later(row.id, 300.1)
        assert due(store) == [row.id]
        store.mark_sent(row.id)
        assert due(store) == []
        pauses.append(pause(store))

    assert pauses == pytest.approx([3, 6, 12, 24, 48, 96, 192, 300, 300], abs=0.5)


def test_running_and_finished_jobs_are_not_sent(store, later):
    running, over = submit(store), submit(store)
    claim(store, running)
    store.cancel(TENANT, over.id)
    for row in (running, over):
        later(row.id, 1000)

    assert due(store) == []


def test_what_has_waited_longest_is_sent_first(store, later):
    rows = [submit(store) for _ in range(3)]
    for row, wait in zip(rows, (10, 30, 20), strict=True):
        later(row.id, wait)

    assert due(store) == [rows[1].id, rows[2].id, rows[0].id]
    assert due(store, limit=1) == [rows[1].id]
    assert store.due_for_send()[0] == (rows[1].id, "generate", "1-normal.fast")


def test_a_broker_that_forgot_is_told_without_waiting_for_the_back_off(store, later):
    row = submit(store)
    for _ in range(8):
        store.mark_sent(row.id)
    later(row.id, 4)

    assert due(store) == []
    assert due(store, empty_lanes={"0-high.fast"}) == []
    assert due(store, empty_lanes={"1-normal.fast"}) == [row.id]
    store.mark_sent(row.id)
    assert due(store, empty_lanes={"1-normal.fast"}) == []  # a worker may have it in hand


def test_jobs_of_a_dead_worker_are_queued_again(store, later):
    row, healthy = submit(store), submit(store)
    claim(store, row)
    claim(store, healthy)
    later(row.id, OVERDUE)

    assert store.reap_leases() == 1

    now = store.get(TENANT, row.id)
    assert (now.status, now.attempts, now.losses, now.worker) == (Status.QUEUED, 0, 1, None)
    assert due(store) == [row.id]
    assert store.get(TENANT, healthy.id).status is Status.RUNNING
    assert store.reap_leases() == 0


def test_a_poison_job_fails_at_its_cap(store, later):
    row = submit(store)
    for _ in range(LIMITS.max_losses):
        claim(store, row)
        later(row.id, OVERDUE)
        store.reap_leases()

    now = store.get(TENANT, row.id)
    assert now.status is Status.FAILED and now.error.code == "worker_lost"


def test_a_poison_job_fails_when_other_workers_take_over_directly(store, later):
    row = submit(store)
    claims = 0
    while store.claim(row.id, "w", payload_version=PAYLOAD_VERSION):
        claims += 1
        later(row.id, OVERDUE)

    assert claims == LIMITS.max_losses
    assert store.reap_leases() == 1
    assert store.get(TENANT, row.id).status is Status.FAILED


def test_a_dead_workers_job_that_was_to_be_canceled_is_canceled(store, later):
    row = submit(store)
    claim(store, row)
    store.cancel(TENANT, row.id)
    assert store.cancel_orphans() == 0  # its worker may still see the flag
    later(row.id, OVERDUE)

    assert store.claim(row.id, "w2", payload_version=PAYLOAD_VERSION) is None
    assert store.reap_leases() == 0
    assert store.cancel_orphans() == 1
    assert store.get(TENANT, row.id).status is Status.CANCELED


def test_a_job_expires_unless_it_was_claimed_in_time(store, later):
    late, claimed, endless = submit(store, deadline_s=60), submit(store, deadline_s=60), submit(store)
    store.release(claim(store, claimed), reason="drain")
    for row in (late, claimed, endless):
        later(row.id, 61)

    assert store.claim(late.id, "w", payload_version=PAYLOAD_VERSION) is None  # even before the reaper comes
    assert store.expire_deadlines() == 1

    assert store.get(TENANT, late.id).status is Status.EXPIRED
    assert store.claim(claimed.id, "w", payload_version=PAYLOAD_VERSION) is not None
    assert store.claim(endless.id, "w", payload_version=PAYLOAD_VERSION) is not None


def test_an_expired_job_can_be_retried_with_a_new_deadline(store, later):
    row = submit(store, deadline_s=60)
    later(row.id, 61)
    store.expire_deadlines()

    store.retry(TENANT, row.id)

    assert store.expire_deadlines() == 0
    assert claim(store, row).fence == 1


def test_a_job_that_no_claim_would_take_fails(store):
    row = submit(store)
    store.release(claim(store, row), reason="retry")
    assert store.fail_exhausted() == 0
    store.limits = Limits(max_attempts=1)  # the operator lowered it

    assert store.claim(row.id, "w", payload_version=PAYLOAD_VERSION) is None
    assert store.fail_exhausted() == 1
    assert store.get(TENANT, row.id).status is Status.FAILED


def test_reapers_that_run_at_once_do_everything_once(store, later):
    rows = [submit(store) for _ in range(30)]
    for row in rows:
        claim(store, row)
        later(row.id, OVERDUE)

    with ThreadPoolExecutor(6) as pool:
        reaped = sum(pool.map(lambda _: store.reap_leases(), range(6)))

    assert reaped == 30
    assert {store.get(TENANT, row.id).losses for row in rows} == {1}


def test_retention_removes_files_and_leaves_the_row(store, later):
    row = submit(store)
    held = claim(store, row)
    store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])
    assert store.sweep_artifacts() == []
    later(row.id, LIMITS.artifact_ttl_s + 1)

    assert store.sweep_artifacts() == [picture(held).key]
    (output,) = store.get(TENANT, row.id).outputs
    assert output.gone
    assert store.sweep_artifacts() == [picture(held).key]  # until the file is known to be removed
    store.forget_keys([picture(held).key])
    assert store.sweep_artifacts() == []
    (output,) = store.get(TENANT, row.id).outputs
    assert output.gone and output.key is None and output.name == "image_0000.png"


def test_leftovers_are_looked_for_once_some_time_after_the_end(store, later):
    row = submit(store)
    held = claim(store, row)
    store.heartbeat(held, checkpoint_key=f"{row.prefix}ckpt/1-5.safetensors")
    store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])
    assert store.leftovers() == []
    later(row.id, LIMITS.leftovers_s + 1)

    (found,) = store.leftovers()
    assert (found.prefix, found.keep) == (row.prefix, {picture(held).key})
    store.mark_swept(row.id)
    assert store.leftovers() == [] and store.get(TENANT, row.id).checkpoint_key is None


def test_a_retried_job_is_swept_after_its_second_end(store, later):
    row = submit(store)
    held = claim(store, row)
    store.finish(held, Status.FAILED, outputs=[picture(held)])
    later(row.id, LIMITS.leftovers_s + 1)
    store.mark_swept(row.id)

    store.retry(TENANT, row.id)
    assert store.leftovers() == []
    store.cancel(TENANT, row.id)
    later(row.id, LIMITS.leftovers_s + 1)

    (found,) = store.leftovers()
    assert found.keep == frozenset()  # the first series' files are not published any more


def test_old_idempotency_keys_are_forgotten(store, let_keys_age):
    store.submit(TENANT, submit(store).request, idempotency_key="k")
    assert store.forget_idempotency() == 0
    let_keys_age(24 * 3600 + 1)
    assert store.forget_idempotency() == 1
