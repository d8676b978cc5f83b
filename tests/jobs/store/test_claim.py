"""Leases and fences: one worker at a time may work on a job, and only it may publish."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from jobs.errors import Conflict, NotFound
from jobs.schemas import PAYLOAD_VERSION, JobError, Progress, Status
from jobs.store import Beat, JobStore, ModelRow
from tests.jobs.given import LIMITS, TENANT, claim, picture, submit

OVERDUE = LIMITS.lease_s + 1
OOPS = JobError(code="unavailable", detail="the object store did not answer")


def test_a_claim_starts_the_job(store):
    row = submit(store)

    held = claim(store, row, worker="host:1")

    now = store.get(TENANT, row.id)
    assert now.status is Status.RUNNING and now.worker == "host:1"
    assert (held.fence, now.fence, now.attempts, now.seq) == (1, 1, 1, 2)
    assert now.started_at is not None and now.lease_until > now.started_at + 29


def test_what_is_unknown_or_held_or_over_cannot_be_claimed(store):
    row = submit(store)
    held = claim(store, row)

    assert store.claim("job_unknown", "w2", payload_version=PAYLOAD_VERSION) is None
    assert store.claim(row.id, "w2", payload_version=PAYLOAD_VERSION) is None  # a message that came twice
    store.finish(held, Status.SUCCEEDED)
    assert store.claim(row.id, "w2", payload_version=PAYLOAD_VERSION) is None


def test_a_newer_job_is_left_for_a_newer_worker(store):
    row = submit(store)

    assert store.claim(row.id, "old", payload_version=0) is None
    assert store.get(TENANT, row.id).status is Status.QUEUED
    assert store.claim(row.id, "new", payload_version=PAYLOAD_VERSION) is not None


def test_of_twenty_who_claim_at_once_one_wins(store: JobStore):
    row, gate = submit(store), Barrier(20)

    def race(i: int):
        gate.wait()
        return store.claim(row.id, f"w{i}", payload_version=PAYLOAD_VERSION)

    with ThreadPoolExecutor(20) as pool:
        claims = [got for got in pool.map(race, range(20)) if got is not None]

    assert len(claims) == 1
    assert store.get(TENANT, row.id).worker == claims[0].worker


def test_a_heartbeat_renews_the_lease(store, later):
    row = submit(store)
    held = claim(store, row)
    later(row.id, 20)
    before = store.get(TENANT, row.id)

    assert store.heartbeat(held) is Beat.OK

    after = store.get(TENANT, row.id)
    assert after.lease_until > before.lease_until + 19
    assert after.seq == before.seq  # nothing that a caller can see


def test_progress_and_checkpoint_ride_on_the_heartbeat(store):
    row = submit(store)
    held = claim(store, row)
    progress = Progress(value=0.5, step=5, steps=10, message="loss 0.1")

    assert store.heartbeat(held, progress, f"{row.prefix}ckpt/1-5.safetensors") is Beat.OK

    now = store.get(TENANT, row.id)
    assert now.progress == progress and now.checkpoint_key.endswith("1-5.safetensors")
    assert now.seq == 3 and [event.seq for event in store.events(TENANT, row.id)] == [1, 2]


def test_a_frozen_worker_that_wakes_publishes_nothing(store, later):
    """A worker sleeps past its lease, another takes the job over, the first wakes."""
    row = submit(store)
    frozen = claim(store, row, worker="frozen")
    later(row.id, OVERDUE)
    other = claim(store, row, worker="other")
    assert other.fence == frozen.fence + 1

    assert store.heartbeat(frozen, Progress(value=0.9)) is Beat.LOST
    assert store.finish(frozen, Status.SUCCEEDED, outputs=[picture(frozen)]) is False
    assert store.release(frozen, reason="drain") is None
    now = store.get(TENANT, row.id)
    assert now.status is Status.RUNNING and now.worker == "other" and now.outputs == ()

    assert store.heartbeat(other) is Beat.OK
    assert store.finish(other, Status.SUCCEEDED, outputs=[picture(other)]) is True
    assert store.finish(frozen, Status.SUCCEEDED, outputs=[picture(frozen)]) is False
    assert store.get(TENANT, row.id).outputs == (picture(other),)


def test_a_frozen_worker_is_refused_while_the_job_waits_for_another(store, later):
    row = submit(store)
    frozen = claim(store, row)
    later(row.id, OVERDUE)
    store.reap_leases()

    assert store.heartbeat(frozen) is Beat.LOST
    assert store.finish(frozen, Status.SUCCEEDED) is False
    assert store.get(TENANT, row.id).status is Status.QUEUED


def test_an_overdue_lease_that_nobody_took_can_still_be_renewed_and_finished(store, later):
    row = submit(store)
    slow = claim(store, row)
    later(row.id, OVERDUE)

    assert store.heartbeat(slow) is Beat.OK
    assert store.finish(slow, Status.SUCCEEDED) is True


def test_work_that_stands_still_loses_its_lease(store, later):
    row = submit(store)
    held = claim(store, row)
    later(row.id, LIMITS.stall_s - 1)
    assert store.heartbeat(held, advanced=False) is Beat.OK
    later(row.id, 2)
    assert store.heartbeat(held, advanced=False) is Beat.LOST


def test_work_that_moves_keeps_its_lease_however_long_it_takes(store, later):
    row = submit(store)
    held = claim(store, row)
    for _ in range(5):
        later(row.id, LIMITS.stall_s - 1)
        assert store.heartbeat(held, advanced=True) is Beat.OK


def test_takeover_resumes_from_the_checkpoint_and_counts_a_loss_not_an_attempt(store, later):
    row = submit(store)
    store.heartbeat(claim(store, row), checkpoint_key=f"{row.prefix}ckpt/1-7.safetensors")
    later(row.id, OVERDUE)

    second = claim(store, row, worker="w2")

    assert second.checkpoint_key == f"{row.prefix}ckpt/1-7.safetensors"
    assert (second.row.attempts, second.row.losses) == (1, 1)


def test_a_drain_gives_the_attempt_back(store):
    row = submit(store)
    assert store.release(claim(store, row), reason="drain") is Status.QUEUED

    now = store.get(TENANT, row.id)
    assert (now.attempts, now.losses, now.worker, now.lease_until) == (0, 1, None, None)
    assert [due.id for due in store.due_for_send()] == [row.id]  # at once


def test_a_fault_that_may_pass_counts_until_the_attempts_are_used_up(store, later):
    row = submit(store)
    ends = []
    for _ in range(LIMITS.max_attempts):
        ends.append(store.release(claim(store, row), reason="retry", error=OOPS))

    assert ends == [Status.QUEUED, Status.QUEUED, Status.FAILED]
    now = store.get(TENANT, row.id)
    assert now.error == OOPS and now.finished_at is not None and now.attempts == 3


def test_a_retry_waits_a_moment(store, later):
    row = submit(store)
    store.release(claim(store, row), reason="retry", error=OOPS)

    assert store.due_for_send() == []
    later(row.id, 3)
    assert [due.id for due in store.due_for_send()] == [row.id]


def test_a_job_that_is_lost_too_often_fails(store):
    row = submit(store)
    ends, alone = [], []
    for _ in range(LIMITS.max_losses):
        held = claim(store, row)
        alone.append(held.alone)
        ends.append(store.release(held, reason="lost"))

    assert ends == [Status.QUEUED] * 3 + [Status.FAILED]
    assert alone == [False, False, True, True]  # lost twice: it may be what kills the worker
    assert store.get(TENANT, row.id).error.code == "worker_lost"


def test_publishing_is_all_or_nothing(store):
    row = submit(store)
    held = claim(store, row)
    outputs = [picture(held, "b.png"), picture(held, "a.png")]

    assert store.finish(
        held, Status.SUCCEEDED, outputs=outputs, result={"images": []}, metrics={"run_ms": 4.5}
    )

    now = store.get(TENANT, row.id)
    assert now.status is Status.SUCCEEDED and now.progress.value == 1
    assert now.outputs == tuple(outputs)  # in the order given
    assert now.result == {"images": []} and now.metrics == {"run_ms": 4.5}
    assert now.finished_at + LIMITS.artifact_ttl_s == pytest.approx(now.expires_at, abs=1)
    assert store.finish(held, Status.FAILED, error=OOPS) is False  # a terminal status never changes


def test_outputs_of_a_failed_job_stay_listed(store):
    held = claim(store, submit(store))
    store.finish(held, Status.FAILED, outputs=[picture(held)], error=OOPS)

    now = store.get(TENANT, held.job_id)
    assert now.status is Status.FAILED and now.error == OOPS and now.outputs == (picture(held),)


def test_an_imported_model_appears_with_the_end_of_its_job(store):
    held = claim(store, submit(store))
    model = ModelRow("faces", "a" * 64, "t/default/m/faces/a/", {"name": "faces"})
    with pytest.raises(NotFound):
        store.get_model(TENANT, "faces")

    assert store.finish(held, Status.SUCCEEDED, model=model)

    assert store.get_model(TENANT, "faces").card == {"name": "faces"}


def test_a_stale_import_publishes_no_model(store, later):
    row = submit(store)
    frozen = claim(store, row)
    later(row.id, OVERDUE)
    claim(store, row)

    assert not store.finish(frozen, Status.SUCCEEDED, model=ModelRow("faces", "a" * 64, "p/", {}))
    with pytest.raises(NotFound):
        store.get_model(TENANT, "faces")


def test_a_model_name_that_is_taken_leaves_the_job_running(store):
    store.put_model(TENANT, ModelRow("faces", "a" * 64, "p/", {}))
    held = claim(store, submit(store))

    with pytest.raises(Conflict) as refused:
        store.finish(held, Status.SUCCEEDED, model=ModelRow("faces", "b" * 64, "q/", {}))

    assert refused.value.code == "name_taken"
    assert store.finish(held, Status.FAILED, error=JobError(code="name_taken", detail="…"))


# --- cancel ----------------------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once_and_twice_is_fine(store):
    row = submit(store)

    first, second = store.cancel(TENANT, row.id), store.cancel(TENANT, row.id)

    assert first.status is second.status is Status.CANCELED and first.seq == second.seq == 2
    assert store.claim(row.id, "w", payload_version=PAYLOAD_VERSION) is None


def test_a_running_job_learns_at_its_next_heartbeat(store):
    row = submit(store)
    held = claim(store, row)

    first, second = store.cancel(TENANT, row.id), store.cancel(TENANT, row.id)

    assert first.cancel_requested and first.status is Status.RUNNING and first.seq == second.seq == 3
    assert store.heartbeat(held, Progress(value=0.5)) is Beat.CANCEL
    assert store.finish(held, Status.CANCELED)
    assert store.get(TENANT, row.id).status is Status.CANCELED


def test_what_finished_first_has_succeeded(store):
    row = submit(store)
    held = claim(store, row)
    store.cancel(TENANT, row.id)

    assert store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])

    assert store.get(TENANT, row.id).status is Status.SUCCEEDED
    with pytest.raises(Conflict) as refused:
        store.cancel(TENANT, row.id)
    assert refused.value.code == "already_finished"


def test_a_job_to_be_canceled_is_not_put_back(store):
    for reason in ("drain", "retry", "lost"):
        row = submit(store)
        held = claim(store, row)
        store.cancel(TENANT, row.id)

        assert store.release(held, reason=reason) is Status.CANCELED
        assert store.get(TENANT, row.id).finished_at is not None


def test_cancel_against_finish_has_one_winner(store: JobStore):
    for _ in range(10):
        row = submit(store)
        held = claim(store, row)
        with ThreadPoolExecutor(2) as pool:
            finished = pool.submit(store.finish, held, Status.SUCCEEDED)
            canceled = pool.submit(store.cancel, TENANT, row.id)
        assert finished.result() is True
        try:
            assert canceled.result().cancel_requested  # it came first, and the work was over all the same
        except Conflict as refused:
            assert refused.code == "already_finished"
        assert store.get(TENANT, row.id).status is Status.SUCCEEDED


def test_events_tell_every_transition_once_and_in_order(store):
    row = submit(store)
    store.release(claim(store, row), reason="drain")
    held = claim(store, row)
    store.cancel(TENANT, row.id)
    store.finish(held, Status.CANCELED)

    events = store.events(TENANT, row.id)

    assert [(e.seq, e.body["status"], e.body["cancel_requested"]) for e in events] == [
        (1, "queued", False),
        (2, "running", False),
        (3, "queued", False),
        (4, "running", False),
        (5, "running", True),
        (6, "canceled", True),
    ]
    assert store.events(TENANT, row.id, after_seq=4) == events[4:]
    assert store.seq(TENANT, row.id) == 6
