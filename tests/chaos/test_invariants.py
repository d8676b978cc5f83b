"""The checker is checked: a sound record passes, and each way of being unsound is seen by its rule alone."""

import hashlib
import json
import shutil

import pytest
from sqlalchemy import insert, select, text, update

from jobs.blobs import dataset_prefix
from jobs.blobs.memory import MemoryBlobStore
from jobs.migrate import migrate
from jobs.schemas import JobError, Status, request_adapter
from jobs.store import JobStore, OutputRow, connect
from jobs.store.tables import events, holds, jobs, outputs, storage, usage
from tests.chaos.invariants import Record, doubled, lost, stale, violations
from tests.jobs.given import LIMITS, TENANT, claim, submit

BODY = b"a picture"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    path = tmp_path_factory.mktemp("empty") / "ganserve.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(empty, tmp_path):
    shutil.copy(empty, tmp_path / "ganserve.db")
    found = JobStore(connect(f"sqlite:///{tmp_path}/ganserve.db"), LIMITS)
    yield found
    found.close()


@pytest.fixture
def blobs():
    return MemoryBlobStore()


@pytest.fixture
def sound(store, blobs):
    """A record in which everything has happened that may: the ids of its jobs, by how they ended."""
    ended = {status: submit(store, deadline_s=60).id for status in Status if status.terminal}
    publish(store, blobs, claim(store, store.get(TENANT, ended[Status.FAILED])), Status.FAILED)
    store.cancel(TENANT, ended[Status.CANCELED])
    change(store, jobs, jobs.c.id == ended[Status.EXPIRED], deadline_at=0)
    store.expire_deadlines()
    row = store.get(TENANT, ended[Status.SUCCEEDED])
    store.release(claim(store, row), reason="drain")
    claim(store, row, "w2")
    change(store, jobs, jobs.c.id == row.id, lease_until=0)
    publish(store, blobs, claim(store, row, "w3"), Status.SUCCEEDED)  # a second fence, without a requeue
    canceled_while_running = submit(store)
    held = claim(store, canceled_while_running)
    store.cancel(TENANT, canceled_while_running.id)
    publish(store, blobs, held, Status.CANCELED)
    for _ in range(2):
        make_dataset(store, blobs)
    return {str(status): job_id for status, job_id in ended.items()}


def make_dataset(store, blobs):
    """Two shards and their manifest."""
    given = {"count": 3, "shard_size": 2, "model_sha256": "0" * 64}
    body = {"kind": "dataset", "model": "portraits", "input": given}
    row = store.submit(TENANT, request_adapter.validate_json(json.dumps(body)))[0]
    files = []
    for part in store.parts(TENANT, row.id):
        name, given = f"train-{part.place:06d}.tar", part.request.input
        key = dataset_prefix(TENANT, row.id) + name
        sha256 = blobs.write(key, BODY, media_type="application/x-tar")
        files.append({"name": name, "sha256": sha256})
        tar = OutputRow(name, "shard", key, "application/x-tar", len(BODY), sha256)
        store.finish(
            claim(store, part),
            Status.SUCCEEDED,
            outputs=[tar],
            result={"first": given.first, "count": given.count},
        )
    store.tend(TENANT, row.id)
    [due] = store.due_for_send()
    write_manifest(store, blobs, claim(store, store.get(TENANT, due.id)), files)
    store.tend(TENANT, row.id)


def write_manifest(store, blobs, held, files):
    manifest, key = json.dumps({"files": files}).encode(), f"{held.row.prefix}a/{held.fence}/manifest.json"
    sha256 = blobs.write(key, manifest, media_type="application/json")
    told = OutputRow("manifest.json", "manifest", key, "application/json", len(manifest), sha256)
    assert store.finish(held, Status.SUCCEEDED, outputs=[told])


def publish(store, blobs, held, status):
    key = f"{held.row.prefix}a/{held.fence}/image_0000.png"
    sha256 = blobs.write(key, BODY, media_type="image/png")
    assert sha256 == hashlib.sha256(BODY).hexdigest()
    output = OutputRow("image_0000.png", "image", key, "image/png", len(BODY), sha256)
    error = JobError(code="diverged", detail="…") if status is Status.FAILED else None
    assert store.finish(held, status, outputs=[output], error=error)


def record(store, blobs, accepted=None):
    return Record(store.database, blobs, accepted)


def change(store, table, where, **values):
    with store.database.write() as connection:
        assert connection.execute(update(table).where(where).values(values)).rowcount


def test_a_sound_record_breaks_no_rule(store, blobs, sound):
    found = record(store, blobs, [row.id for row in store.list(TENANT)])
    assert violations(found) == {}
    assert (lost(found), doubled(found), stale(found)) == (0, 0, 0)


def forget(store, blobs, sound):
    with store.database.write() as connection:
        connection.execute(text("DELETE FROM outputs"))
        connection.execute(text("DELETE FROM storage"))


def leave_running(store, blobs, sound):
    claim(store, submit(store))


def tell(store, job_id, **changes):
    """One event more."""
    last = store.events(TENANT, job_id)[-1]
    event = {"type": "status", "seq": last.seq + 1, "at": last.at, "body": last.body} | changes
    with store.database.write() as connection:
        connection.execute(insert(events).values(tenant=TENANT, job_id=job_id, **event))
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(seq=jobs.c.seq + 1))


def body(store, job_id, **changes):
    return store.events(TENANT, job_id)[-1].body | changes


def succeed_twice(store, blobs, sound):
    tell(store, sound["succeeded"])


def revive(store, blobs, sound):
    tell(store, sound["failed"], body=body(store, sound["failed"], status="queued"))


def say_nothing(store, blobs, sound):
    change(store, jobs, jobs.c.id == sound["canceled"], status="expired")


def skip(store, blobs, sound):
    told = store.events(TENANT, sound["expired"])[-1]
    where = (events.c.job_id == sound["expired"]) & (events.c.seq == told.seq)
    change(store, events, where, body=told.body | {"status": "succeeded"})


def go_back(store, blobs, sound):
    change(store, jobs, jobs.c.id == sound["succeeded"], seq=2)


def come_too_early(store, blobs, sound):
    last = store.events(TENANT, sound["succeeded"])[-1]
    change(
        store, events, (events.c.job_id == sound["succeeded"]) & (events.c.seq == last.seq), at=last.at - 60
    )


def remove_object(store, blobs, sound):
    blobs.objects.clear()


def damage_object(store, blobs, sound):
    for key in list(blobs.objects):
        blobs.write(key, b"another", media_type="image/png")


def publish_stale(store, blobs, sound):
    row = store.get(TENANT, sound["succeeded"])
    key = row.outputs[0].key.replace(f"/a/{row.fence}/", f"/a/{row.fence - 1}/")
    blobs.write(key, BODY, media_type="image/png")
    change(store, outputs, outputs.c.job_id == row.id, key=key)


def repeat_fence(store, blobs, sound):
    row = store.get(TENANT, sound["failed"])
    key = row.outputs[0].key.replace(f"/a/{row.fence}/", "/a/0/")
    blobs.write(key, BODY, media_type="image/png")
    change(store, outputs, outputs.c.job_id == row.id, key=key)
    change(store, jobs, jobs.c.id == row.id, fence=0)


def hold(store, blobs, sound):
    with store.database.write() as connection:
        connection.execute(insert(holds).values(tenant=TENANT, job_id=sound["failed"], images=1))


def count_twice(store, blobs, sound):
    change(store, usage, usage.c.tenant == TENANT, jobs=usage.c.jobs + 1)


def count_bytes_twice(store, blobs, sound):
    change(store, storage, storage.c.tenant == TENANT, size_bytes=storage.c.size_bytes + len(BODY))


def rewritten(store, blobs, change_files):
    """The last manifest, with other files in it, and its row in step."""
    with store.database.read() as connection:
        *_, row = connection.execute(select(outputs).where(outputs.c.name == "manifest.json"))
    files = json.loads(blobs.read(row.key))["files"]
    manifest = json.dumps({"files": change_files(files)}).encode()
    sha256 = blobs.write(row.key, manifest, media_type="application/json")
    change(store, outputs, outputs.c.key == row.key, sha256=sha256, size_bytes=len(manifest))
    change(
        store, storage, storage.c.tenant == TENANT,
        size_bytes=storage.c.size_bytes + len(manifest) - row.size_bytes,
    )  # fmt: skip


def list_twice(store, blobs, sound):
    rewritten(store, blobs, lambda files: [*files, files[0]])


def leave_out(store, blobs, sound):
    rewritten(store, blobs, lambda files: files[1:])


def skip_a_sample(store, blobs, sound):
    [first, *_] = [row for row in store.list(TENANT, kind="shard", parent=_dataset(store)) if row.place == 1]
    change(store, jobs, jobs.c.id == first.id, result={"first": 1, "count": 1})


def _dataset(store):
    return store.list(TENANT, kind="dataset")[0].id


def make_otherwise(store, blobs, sound):
    """A shard of one of the twins has other bytes, and everything says so."""
    key = dataset_prefix(TENANT, _dataset(store)) + "train-000000.tar"
    sha256 = blobs.write(key, BODY[::-1], media_type="application/x-tar")
    change(store, outputs, outputs.c.key == key, sha256=sha256)
    rewritten(store, blobs, lambda files: [files[0] | {"sha256": sha256}, *files[1:]])


@pytest.mark.parametrize(
    ("doctor", "rules"),
    [
        (leave_running, "every_accepted_job_has_ended nothing_is_held"),
        (revive, "no_end_is_followed_by_anything"),
        (succeed_twice, "no_end_is_followed_by_anything each_success_is_published_once"),
        (say_nothing, "each_end_is_told"),
        (skip, "every_step_is_a_legal_one each_end_is_told each_success_is_published_once"),
        (go_back, "seq_only_grows"),
        (come_too_early, "seq_only_grows"),
        (forget, "each_success_is_published_once every_dataset_is_whole"),
        (remove_object, "every_output_is_there_whole every_dataset_is_whole"),
        (damage_object, "every_output_is_there_whole every_dataset_is_whole"),
        (publish_stale, "nothing_of_a_stale_fence_is_reachable"),
        (repeat_fence, "no_fence_was_given_out_twice"),
        (hold, "nothing_is_held"),
        (count_twice, "what_was_used_is_counted_once"),
        (count_bytes_twice, "what_was_used_is_counted_once"),
        (list_twice, "every_dataset_is_whole"),
        (leave_out, "every_dataset_is_whole equal_datasets_have_equal_files"),
        (skip_a_sample, "every_dataset_is_whole"),
        (make_otherwise, "equal_datasets_have_equal_files"),
    ],
    ids=lambda given: given.__name__ if callable(given) else "",
)
def test_each_unsound_record_breaks_its_rules(store, blobs, sound, doctor, rules):
    doctor(store, blobs, sound)

    assert set(violations(record(store, blobs))) == set(rules.split())


def test_a_job_that_was_accepted_and_is_gone_is_lost(store, blobs, sound):
    accepted = [row.id for row in store.list(TENANT)]
    assert lost(record(store, blobs, [*accepted, "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"])) == 1


def test_a_job_that_nobody_asked_for_is_seen(store, blobs, sound):
    accepted = [row.id for row in store.list(TENANT)]
    told = violations(record(store, blobs, accepted[1:]))
    assert told == {"every_accepted_job_has_ended": [f"{accepted[0]} is there and nobody asked for it"]}


def test_ends_and_stale_files_are_counted(store, blobs, sound):
    succeed_twice(store, blobs, sound)
    publish_stale(store, blobs, sound)
    found = record(store, blobs)
    assert (doubled(found), stale(found)) == (1, 1)
