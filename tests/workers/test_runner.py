"""From a message to a terminal status: what each way to end an attempt leaves in the database."""

import errno
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import structlog
import torch
from sqlalchemy import update

from jobs import tracing
from jobs.errors import BlobsUnavailable, JobFailed, StoreUnavailable, UnknownImage
from jobs.lanes import LANES
from jobs.metrics import REGISTRY
from jobs.queue import TASK_NAMES
from jobs.schemas import PARENTS, PAYLOAD_VERSION, Kind, Status
from jobs.settings import DEFAULT_TENANT
from jobs.store import JobRow
from jobs.store.tables import jobs
from workers.context import Context
from workers.job import Result, RunningJob
from workers.runner import Outcome, run_job, run_next

LONG = 20  # seconds after which something is stuck

Work = Callable[[RunningJob[Any]], Result]


def put(job: RunningJob[Any], name: str = "a.txt", body: bytes = b"hello") -> None:
    job.outbox.put(name, lambda: body, role="image", media_type="text/plain")


def endless(job: RunningJob[Any], until: float = LONG) -> Result:
    """Reports until something stops it."""
    ends_at = time.monotonic() + until
    while time.monotonic() < ends_at:
        job.reporter.report(0.5)
        time.sleep(0.01)
    pytest.fail("nothing stopped the work")


def test_a_job_that_works_publishes_its_files_its_result_and_what_it_took(context, submit, finished, read):
    row = submit()

    def work(job):
        put(job, "a.txt", b"hello")
        put(job, "b.txt", b"world")
        job.device_s = 0.25
        return {"count": 2}

    assert run_job(row.id, work, context) is Outcome.SUCCEEDED

    done = finished(row)
    assert (done.status, done.result, done.progress.value) == (Status.SUCCEEDED, {"count": 2}, 1)
    assert [o.name for o in done.outputs] == ["a.txt", "b.txt"]
    assert [read(done, o.name) for o in done.outputs] == [b"hello", b"world"]
    assert f"/a/{done.fence}/" in done.outputs[0].key
    assert done.metrics["device_ms"] == 250 and done.metrics["queue_ms"] >= 0 and done.metrics["run_ms"] >= 0


def test_a_message_for_a_job_that_is_over_or_unknown_is_dropped(context, submit):
    row = submit()
    run_job(row.id, lambda job: None, context)
    never = lambda job: pytest.fail("ran again")  # noqa: E731
    assert run_job(row.id, never, context) is Outcome.SKIPPED
    assert run_job("job_01AN4Z07BY79KA1307SR9X4MV3", never, context) is Outcome.SKIPPED


def test_a_message_brings_the_job_whose_turn_it_is_with_the_work_of_its_kind(context, submit, finished):
    first = submit("edit", input={"source": {"seeds": [1]}, "operations": [{"op": "direction", "name": "x"}]})
    second = submit()
    ran: list[tuple[str, str]] = []
    works = {kind: lambda job, kind=kind: ran.append((kind, job.claim.job_id)) for kind in Kind}
    assert run_next(second.id, works, LANES, context) is Outcome.SUCCEEDED
    assert run_next(second.id, works, LANES, context) is Outcome.SUCCEEDED
    assert run_next(second.id, works, LANES, context) is Outcome.SKIPPED
    assert ran == [("edit", first.id), ("generate", second.id)]  # in the order in which they came
    assert {finished(row).status for row in (first, second)} == {Status.SUCCEEDED}


def test_the_tasks_know_the_work_of_every_kind():
    from workers.tasks import WORKS, app

    assert set(WORKS) == set(Kind) - set(PARENTS)
    assert {TASK_NAMES[kind] for kind in Kind} <= set(app.tasks)


def test_a_second_message_while_the_job_runs_is_dropped(context, submit):
    row = submit()
    twice: list[Outcome] = []
    run_job(row.id, lambda job: twice.append(run_job(row.id, endless, context)), context)
    assert twice == [Outcome.SKIPPED]


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (UnknownImage("there is no image img_1"), "unknown_image", "there is no image img_1"),
        (JobFailed("step 3: nan", code="diverged"), "diverged", "step 3: nan"),
        (ZeroDivisionError("a secret"), "internal_error", "Something went wrong on our side."),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", None),
        (OSError(errno.ENOSPC, "no space"), "storage", None),
    ],
)
def test_a_failure_has_its_code_and_says_no_more_than_the_caller_may_know(
    context, submit, finished, error, code, detail
):
    row = submit()

    def work(job):
        put(job)
        job.outbox.flush()
        raise error

    assert run_job(row.id, work, context) is Outcome.FAILED

    done = finished(row)
    assert (done.status, done.error.code) == (Status.FAILED, code)
    assert detail is None or done.error.detail == detail
    assert [o.name for o in done.outputs] == ["a.txt"]  # what was stored stays listed


def test_an_error_while_encoding_fails_the_job(context, submit, finished):
    row = submit()

    def work(job):
        job.outbox.put("a", lambda: 1 / 0, role="image", media_type="text/plain")

    assert run_job(row.id, work, context) is Outcome.FAILED
    assert finished(row).error.code == "internal_error"


def test_cancel_stops_the_work_and_lists_the_files_stored_so_far(context, submit, finished):
    row = submit()

    def work(job):
        put(job)
        job.outbox.flush()
        context.store.cancel(DEFAULT_TENANT, row.id)
        return endless(job)

    assert run_job(row.id, work, context) is Outcome.CANCELED

    done = finished(row)
    assert done.status is Status.CANCELED and [o.name for o in done.outputs] == ["a.txt"]


def test_cancel_ends_a_wait_for_the_engine_too(context, submit):
    row = submit()

    def work(job):
        context.store.cancel(DEFAULT_TENANT, row.id)
        with ThreadPoolExecutor(1) as pool:
            blocked = threading.Event()
            try:
                job.reporter.wait(pool.submit(blocked.wait, LONG))
            finally:
                blocked.set()

    assert run_job(row.id, work, context) is Outcome.CANCELED


def test_a_job_that_succeeds_just_after_a_cancel_has_succeeded(context, submit, finished):
    row = submit()
    run_job(row.id, lambda job: context.store.cancel(DEFAULT_TENANT, row.id) and None, context)
    assert finished(row).status is Status.SUCCEEDED


def test_a_job_over_its_time_limit_fails_with_timeout(context, submit, finished):
    row = submit(timeout_s=0.2)
    assert run_job(row.id, endless, context) is Outcome.FAILED
    assert finished(row).error.code == "timeout"


def test_transient_errors_are_tried_again_up_to_the_cap(context, submit, finished):
    row = submit()

    def work(job):
        raise BlobsUnavailable

    for attempt in (1, 2):
        assert run_job(row.id, work, context) is Outcome.RELEASED
        assert (finished(row).status, finished(row).attempts) == (Status.QUEUED, attempt)
    assert run_job(row.id, work, context) is Outcome.FAILED
    assert finished(row).error.code == "unavailable"


def test_a_drain_keeps_a_checkpoint_and_costs_no_attempt(context, submit, finished):
    row = submit()
    state = {"x": torch.arange(3.0)}

    def work(job):
        for step in range(1000):
            if step == 3:
                context.drain.set()
            if job.reporter.checkpoint_due:
                job.reporter.checkpoint(step, state)
            job.reporter.report(0.1)

    assert run_job(row.id, work, context) is Outcome.RELEASED

    left = finished(row)
    assert (left.status, left.attempts, left.losses) == (Status.QUEUED, 0, 1)
    assert left.checkpoint_key.endswith("/ckpt/1-3.safetensors") and context.blobs.exists(left.checkpoint_key)

    context.drain.clear()
    seen: list[str | None] = []
    assert run_job(row.id, lambda job: seen.append(job.claim.checkpoint_key), context) is Outcome.SUCCEEDED
    assert seen == [left.checkpoint_key]


def test_only_the_last_two_checkpoints_are_kept(context, submit):
    row = submit()
    kept: list[list[str]] = []

    def work(job):
        for step in range(1, 6):
            job.reporter.checkpoint(step, {"x": torch.zeros(1)})
        kept.append(sorted(context.blobs.list(f"{row.prefix}ckpt/")))

    run_job(row.id, work, context)
    assert [key.rpartition("/")[2] for key in kept[0]] == ["1-4.safetensors", "1-5.safetensors"]


def test_a_message_that_arrives_during_a_drain_leaves_the_job_queued(context, submit, finished):
    row = submit()
    context.drain.set()
    assert run_job(row.id, lambda job: pytest.fail("began"), context) is Outcome.SKIPPED
    left = finished(row)
    assert (left.status, left.attempts, left.losses, left.fence) == (Status.QUEUED, 0, 0, 0)


def lose_lease(context: Context, row: JobRow) -> None:
    """Another worker takes the job over, as if this one had been silent for longer than the lease."""
    with context.store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(lease_until=0.0))
    assert context.store.claim(row.id, "another", payload_version=PAYLOAD_VERSION) is not None


def test_a_worker_whose_lease_was_taken_publishes_nothing(context, submit, finished):
    row = submit()

    def work(job):
        put(job, "stale.txt")
        job.outbox.flush()
        lose_lease(context, row)
        return {"stale": True}

    assert run_job(row.id, work, context) is Outcome.LOST

    held = finished(row)
    assert (held.status, held.fence, held.worker) == (Status.RUNNING, 2, "another")
    assert held.outputs == () and held.result is None


def test_work_whose_lease_was_taken_is_stopped(context, submit):
    row = submit()

    def work(job):
        lose_lease(context, row)
        return endless(job)

    assert run_job(row.id, work, context) is Outcome.LOST


def test_a_worker_that_cannot_reach_the_database_for_a_lease_gives_up(context, submit, finished, monkeypatch):
    row = submit()

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(context.store, "heartbeat", unreachable)
    quick = replace(context, settings=context.settings.model_copy(update={"lease_s": 1.0}))
    assert run_job(row.id, endless, quick) is Outcome.LOST
    assert finished(row).status is Status.RUNNING  # the reaper's to decide


def test_publishing_waits_for_a_database_that_comes_back(context, submit, finished, monkeypatch):
    row = submit()
    finish, calls = context.store.finish, []

    def flaky(*args: Any, **kwargs: Any) -> bool:
        calls.append(1)
        if len(calls) < 3:
            raise StoreUnavailable
        return finish(*args, **kwargs)

    monkeypatch.setattr(context.store, "finish", flaky)
    assert run_job(row.id, lambda job: None, context) is Outcome.SUCCEEDED
    assert (len(calls), finished(row).status) == (3, Status.SUCCEEDED)


class FlakyBlobs:
    """Refuses the first `failures` writes."""

    def __init__(self, blobs: Any, failures: int) -> None:
        self._blobs, self.failures = blobs, failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def write(self, *args: Any, **kwargs: Any) -> str:
        if self.failures:
            self.failures -= 1
            raise BlobsUnavailable
        return self._blobs.write(*args, **kwargs)


def test_an_upload_that_fails_for_a_moment_is_tried_again(context, submit, finished, read):
    row = submit()
    flaky = replace(context, blobs=FlakyBlobs(context.blobs, failures=2))
    assert run_job(row.id, put, flaky) is Outcome.SUCCEEDED
    assert read(finished(row), "a.txt") == b"hello"


def test_storage_that_stays_away_gives_the_job_back(context, submit, finished, monkeypatch):
    monkeypatch.setattr("workers.outbox.PAUSES_S", (0.01, 0.01))
    row = submit()
    broken = replace(context, blobs=FlakyBlobs(context.blobs, failures=1000))
    assert run_job(row.id, put, broken) is Outcome.RELEASED
    assert (finished(row).status, finished(row).attempts, finished(row).outputs) == (Status.QUEUED, 1, ())


def test_a_checkpoint_that_cannot_be_stored_does_not_end_the_work(context, submit, finished):
    row = submit()
    broken = replace(context, blobs=FlakyBlobs(context.blobs, failures=1000))
    work = lambda job: job.reporter.checkpoint(1, {"x": torch.zeros(1)})  # noqa: E731
    assert run_job(row.id, work, broken) is Outcome.SUCCEEDED
    assert finished(row).checkpoint_key is None


def test_a_broken_device_gives_the_job_back_at_no_charge_and_ends_the_process(context, submit, finished):
    row = submit()
    left: list[str] = []

    def work(job):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    assert run_job(row.id, work, replace(context, leave=left.append)) is Outcome.RELEASED
    assert (finished(row).status, finished(row).attempts, finished(row).losses) == (Status.QUEUED, 0, 1)
    assert left == ["the device does not answer any more"]


def test_progress_reaches_the_database_and_those_who_watch(context, submit, finished):
    row = submit()
    seen: list[float] = []

    def work(job):
        ends_at = time.monotonic() + LONG
        while not seen and time.monotonic() < ends_at:
            job.reporter.report(0.4, step=4, steps=10, message="loss 0.1")
            if finished(row).progress.value:
                seen.append(finished(row).progress.step)
            time.sleep(0.02)

    run_job(row.id, work, context)
    assert seen == [4]
    shown = [event for event in context.live.events if event["type"] == "progress"]
    assert shown[0]["progress"]["message"] == "loss 0.1"
    assert context.live.events[-1] == {"type": "state", "status": "succeeded"}


def test_work_that_stands_still_loses_its_lease(context, submit, finished):
    row = submit()
    quick = replace(context, settings=context.settings.model_copy(update={"stall_s": 0.3, "lease_s": 0.6}))

    def work(job):
        time.sleep(1.2)
        job.reporter.check()

    assert run_job(row.id, work, quick) is Outcome.LOST


def test_a_job_that_was_lost_twice_with_its_process_runs_alone(context, submit):
    lone, other = submit(), submit()
    with context.store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == lone.id).values(losses=2))
    inside, overlap = threading.Event(), []

    def neighbour(job):
        inside.set()
        time.sleep(0.3)
        overlap.append("neighbour left")

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_job, other.id, neighbour, context)
        assert inside.wait(LONG)
        assert run_job(lone.id, lambda job: overlap.append("lone began"), context) is Outcome.SUCCEEDED
        assert running.result() is Outcome.SUCCEEDED
    assert overlap == ["neighbour left", "lone began"]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_claims_and_attempts_are_counted_by_how_they_went(context, submit):
    row = submit()
    names = ("claimed", "none", "draining")
    before = [sample("ganserve_claims_total", outcome=name) for name in names]
    ran = sample("ganserve_job_run_seconds_count", kind="generate", outcome="succeeded")

    run_job(row.id, lambda job: None, context)
    run_job(row.id, lambda job: None, context)
    context.drain.set()
    run_job(row.id, lambda job: None, context)

    after = [sample("ganserve_claims_total", outcome=name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]
    assert sample("ganserve_job_run_seconds_count", kind="generate", outcome="succeeded") == ran + 1


def test_all_threads_of_an_attempt_log_and_trace_under_its_job(context, submit):
    seen = {}

    def look(name: str) -> bytes:
        seen[name] = structlog.contextvars.get_contextvars().get("job"), tracing.current()
        return b"x"

    def work(job):
        look("job")
        job.outbox.put("a.bin", lambda: look("outbox"), role="image", media_type="application/octet-stream")

    row = submit()
    run_job(row.id, work, context)
    assert seen["job"] == seen["outbox"] and seen["job"][0] == row.id
    assert tracing.current() is None and "job" not in structlog.contextvars.get_contextvars()


def test_shards_follow_each_other_without_a_message_and_a_full_process_takes_none(context, submit, finished):
    dataset = submit("dataset", input={"count": 3, "shard_size": 1, "model_sha256": "0" * 64})
    single = submit()
    ran: list[str] = []
    works = {kind: lambda job, kind=kind: ran.append(kind) for kind in Kind}
    with context.shard_places.place(), context.shard_places.place():
        assert run_next(dataset.id, works, LANES, context) is Outcome.SUCCEEDED
        assert run_next(dataset.id, works, LANES, context) is Outcome.SKIPPED
    assert ran == ["generate"] and finished(single).status is Status.SUCCEEDED
    assert run_next(dataset.id, works, LANES, context) is Outcome.SUCCEEDED
    assert ran == ["generate", *3 * ["shard"], "summary"]  # one message for all of it
    assert finished(dataset).status is Status.SUCCEEDED
