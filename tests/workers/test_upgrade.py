"""A rolling upgrade: workers of one version meet jobs and messages of another. None of it fails a job."""

import json

import pytest
from sqlalchemy import update

from jobs.blobs.memory import MemoryBlobStore
from jobs.lanes import LANES
from jobs.queue import MemoryJobQueue
from jobs.reaper import Reaper
from jobs.schemas import PAYLOAD_VERSION, Kind, Status
from jobs.store.tables import jobs
from workers.runner import Outcome, run_job, run_next
from workers.work.generate import generate

WORKS = {Kind.GENERATE: generate}


@pytest.fixture
def rewrite(context):
    """Make a job's row what a gateway of another version wrote."""

    def change(row, **values):
        with context.store.database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(**values))

    return change


def test_a_job_of_an_older_version_is_run(submit, rewrite, context, finished):
    """Its body has none of the fields that came later: they get their defaults."""
    row = submit(input={"source": {"seeds": [3]}})
    old = {"kind": "generate", "model": "tiny", "input": {"source": {"seeds": [3]}}}
    rewrite(row, payload_version=PAYLOAD_VERSION - 1, request=json.dumps(old))

    assert run_next(row.id, WORKS, LANES, context) is Outcome.SUCCEEDED
    assert finished(row).outputs


@pytest.mark.parametrize("newer", [1, 98])
def test_a_job_of_a_newer_version_waits_for_a_newer_worker_untouched(
    submit, rewrite, context, finished, newer
):
    row = submit()
    rewrite(row, payload_version=PAYLOAD_VERSION + newer, request='{"kind": "generate", "dreams": 7}')
    before = finished(row)

    assert run_next(row.id, WORKS, LANES, context) is Outcome.SKIPPED
    assert run_job(row.id, generate, context) is Outcome.SKIPPED

    assert finished(row) == before
    assert (before.status, before.attempts, before.losses) == (Status.QUEUED, 0, 0)
    upgraded = context.store.claim(row.id, "newer", payload_version=PAYLOAD_VERSION + newer)
    assert upgraded is not None and upgraded.fence == 1


def test_a_job_of_a_newer_version_keeps_no_other_waiting(submit, rewrite, context, finished):
    newer, plain = submit(), submit(input={"source": {"seeds": [1]}})
    rewrite(newer, payload_version=PAYLOAD_VERSION + 1)

    assert run_next(newer.id, WORKS, LANES, context) is Outcome.SUCCEEDED
    assert finished(plain).status is Status.SUCCEEDED


def test_the_reaper_goes_on_sending_it(submit, rewrite, context):
    """A worker that could not take it acknowledged the message; the next one may be newer."""
    row = submit()
    rewrite(row, payload_version=PAYLOAD_VERSION + 1, next_send_at=0.0)
    run_next(row.id, WORKS, LANES, context)
    queue = MemoryJobQueue()

    assert Reaper(context.store, queue, MemoryBlobStore()).tick()["sent"] == 1
    assert queue.sent == [(row.id, "generate", row.lane)]


def test_a_kind_that_a_worker_does_not_know_is_left_to_others(submit, rewrite, context, finished):
    row = submit()
    rewrite(row, kind="dream")

    assert run_next(row.id, WORKS, LANES, context) is Outcome.SKIPPED
    assert finished(row).status is Status.QUEUED


def test_a_body_that_nobody_can_read_any_more_fails_at_once(submit, rewrite, context, finished):
    """It would be no better elsewhere: a loss would be counted for each worker that tries."""
    row = submit()
    rewrite(row, request='{"kind": "generate", "model": "tiny", "dreams": 7}')

    assert run_next(row.id, WORKS, LANES, context) is Outcome.FAILED
    ended = finished(row)
    assert (ended.status, ended.error.code) == (Status.FAILED, "internal_error")
