"""The reaper: whatever is lost on the way, a tick puts it right, and a part that fails stops no other."""

import threading

import pytest
from sqlalchemy import update

from jobs.blobs import upload_key
from jobs.blobs.memory import MemoryBlobStore
from jobs.errors import BlobsUnavailable
from jobs.lanes import LANES
from jobs.queue import MemoryJobQueue
from jobs.reaper import Reaper
from jobs.schemas import Status
from jobs.store.tables import deliveries
from tests.jobs.given import LIMITS, TENANT, claim, picture, submit, submit_import


class DeafQueue(MemoryJobQueue):
    def send(self, job_id: str, kind: str, lane: str) -> bool:
        super().send(job_id, kind, lane)
        return False

    def depths(self) -> dict[str, int]:
        return {}


@pytest.fixture
def reaper(store):
    return Reaper(store, MemoryJobQueue(), MemoryBlobStore())


def publish(reaper, row):
    held = claim(reaper.store, row)
    output = picture(held)
    reaper.blobs.write(output.key, b"picture", media_type="image/png")
    reaper.store.finish(held, Status.SUCCEEDED, outputs=[output])
    return output


def test_a_job_whose_message_was_lost_is_sent_again(reaper, later):
    row = submit(reaper.store)
    assert reaper.tick()["sent"] == 0
    later(row.id, 3)

    assert reaper.tick()["sent"] == 1
    assert reaper.queue.sent == [(row.id, "generate", "1-normal.fast")]
    assert reaper.tick()["sent"] == 0


class Known(MemoryJobQueue):
    """So many messages are in each lane."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def depths(self) -> dict[str, int]:
        return dict.fromkeys(LANES, self.depth)


@pytest.mark.parametrize(("depth", "again"), [(3, 0), (2, 3), (0, 3)])
def test_what_waits_is_not_sent_again_while_the_broker_has_a_message_for_each(store, later, depth, again):
    reaper = Reaper(store, Known(depth), MemoryBlobStore())
    rows = [submit(store) for _ in range(3)]
    for row in rows:
        later(row.id, 3)
    assert reaper.tick()["sent"] == 3  # it is not known whether their gateway has sent them
    for row in rows:
        later(row.id, 3)
    assert reaper.tick()["sent"] == again


def test_all_that_is_due_is_sent_in_one_round_a_page_at_a_time(reaper, later, monkeypatch):
    monkeypatch.setattr("jobs.reaper.PAGE", 2)
    for row in [submit(reaper.store) for _ in range(5)]:
        later(row.id, 3)
    assert reaper.tick()["sent"] == 5 and len(reaper.queue.sent) == 5


def test_after_the_broker_forgot_everything_waiting_jobs_are_sent_at_once(reaper, later):
    rows = [submit(reaper.store) for _ in range(3)]
    for row in rows:
        for _ in range(9):
            reaper.store.mark_sent(row.id)
        later(row.id, 4)
    assert reaper.queue.depths() == dict.fromkeys(LANES, 0)

    assert reaper.tick()["sent"] == 3


def test_a_broker_that_is_down_is_asked_once_a_tick(store, later):
    queue = DeafQueue()
    for _ in range(5):
        later(submit(store).id, 4)

    assert Reaper(store, queue, MemoryBlobStore()).tick()["sent"] == 0
    assert len(queue.sent) == 1


def test_a_job_of_a_dead_worker_is_back_with_the_workers_in_one_tick(reaper, later):
    row = submit(reaper.store)
    claim(reaper.store, row)
    later(row.id, LIMITS.lease_s + 1)

    done = reaper.tick()

    assert (done["requeued"], done["sent"]) == (1, 1)


def test_retention_removes_the_object(reaper, later):
    row = submit(reaper.store)
    output = publish(reaper, row)
    later(row.id, LIMITS.artifact_ttl_s + 1)

    assert reaper.tick()["artifacts_removed"] == 1

    assert not reaper.blobs.exists(output.key)
    assert reaper.store.get(TENANT, row.id).outputs[0].gone
    assert reaper.tick()["artifacts_removed"] == 0


def test_what_was_written_and_not_published_goes_and_the_rest_stays(reaper, later):
    row = submit(reaper.store)
    stale = [f"{row.prefix}a/0/image_0000.png", f"{row.prefix}ckpt/1-5.safetensors"]
    for key in stale:
        reaper.blobs.write(key, b"x", media_type="image/png")
    output = publish(reaper, row)
    assert reaper.tick()["jobs_swept"] == 0  # its worker may still be writing
    later(row.id, LIMITS.leftovers_s + 1)

    assert reaper.tick()["jobs_swept"] == 1
    assert list(reaper.blobs.objects) == [output.key]


def test_an_uploaded_checkpoint_goes_with_the_last_import_that_reads_it(reaper, later):
    upload = upload_key(TENANT, "0" * 64)
    reaper.blobs.write(upload, b"x", media_type="application/octet-stream")
    first, second = (submit_import(reaper.store, upload) for _ in range(2))
    reaper.store.cancel(TENANT, first.id)
    later(first.id, LIMITS.leftovers_s + 1)
    assert reaper.tick()["jobs_swept"] == 1
    assert list(reaper.blobs.objects)  # the second import has yet to read it

    reaper.store.cancel(TENANT, second.id)
    later(second.id, LIMITS.leftovers_s + 1)

    assert reaper.tick()["jobs_swept"] == 1
    assert not list(reaper.blobs.objects)


def test_all_that_a_deleted_job_wrote_goes(reaper):
    row, other = submit(reaper.store), submit(reaper.store)
    publish(reaper, row)
    kept = publish(reaper, other)
    reaper.blobs.write(f"{row.prefix}ckpt/1-5.safetensors", b"x", media_type="image/png")
    reaper.store.delete(TENANT, row.id)

    assert reaper.tick()["prefixes_removed"] == 1
    assert list(reaper.blobs.objects) == [kept.key]
    assert reaper.tick()["prefixes_removed"] == 0


def test_objects_that_cannot_be_removed_are_tried_again_and_stop_nothing_else(reaper, later, monkeypatch):
    row, waiting = submit(reaper.store), submit(reaper.store)
    output = publish(reaper, row)
    later(row.id, LIMITS.artifact_ttl_s + 1)
    later(waiting.id, 4)

    def fail(keys):
        raise BlobsUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(reaper.blobs, "delete", fail)
        done = reaper.tick()
    assert (done["artifacts_removed"], done["sent"]) == (0, 1)

    assert reaper.tick()["artifacts_removed"] == 1
    assert not reaper.blobs.exists(output.key)


def test_it_runs_until_it_is_stopped(reaper, later):
    row = submit(reaper.store)
    later(row.id, 4)
    stop = threading.Event()
    sent = reaper.queue.send

    def send_and_stop(*due):
        stop.set()
        return sent(*due)

    reaper.queue.send = send_and_stop
    reaper.run(0.01, stop)

    assert [job for job, _, _ in reaper.queue.sent] == [row.id]


def test_deliveries_are_forgotten_when_their_time_is_over(store):
    reaper = Reaper(store, MemoryJobQueue(), MemoryBlobStore(), webhook_log_s=1000)
    endpoint = store.webhooks.add(TENANT, url="https://x.example/", events=["finished"], description="")
    store.cancel(TENANT, submit(store).id)
    [leased] = store.webhooks.lease(1, share=1)
    store.webhooks.settle(leased, succeeded=True, status=204)
    assert reaper.tick()["deliveries_forgotten"] == 0
    with store.database.write() as connection:
        connection.execute(update(deliveries).values(finished_at=deliveries.c.finished_at - 1001))

    assert reaper.tick()["deliveries_forgotten"] == 1
    assert store.webhooks.deliveries(TENANT, endpoint.id) == []
