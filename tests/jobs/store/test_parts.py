"""Datasets and batches in the store: their parts made, held, counted, ended, again and further."""

import json

import pytest

from jobs.errors import Conflict, LimitExceeded, QuotaExceeded
from jobs.estimates import Needs
from jobs.lanes import HELD, LANES
from jobs.schemas import PAYLOAD_VERSION, JobError, Kind, Status, request_adapter
from jobs.store import OutputRow, Quotas
from jobs.store.tables import removals
from tests.jobs.given import TENANT, ask, claim

KINDS = [kind.value for kind in Kind]


def dataset(store, count=10, size=2, asked=None, **given):
    body = {"count": count, "shard_size": size, "model_sha256": "0" * 64} | given
    request = {"kind": "dataset", "model": "portraits", "input": body}
    return store.submit(TENANT, request_adapter.validate_json(json.dumps(request)), asked=asked)[0]


def needing(images, each_bytes=0.0, each_s=0.0):
    """What a caller's desk says that so many pictures need."""
    return lambda past: Needs(images, images * each_bytes, images * each_s)


def batch(store, lines):
    body = {"kind": "batch", "model": "portraits", "input": {"lines": lines, "pictures": lines}}
    return store.submit(TENANT, request_adapter.validate_json(json.dumps(body)))[0]


def seen(store, row):
    return store.get(TENANT, row.id)


def parts(store, row):
    return store.parts(TENANT, row.id)


def end(store, part, status=Status.SUCCEEDED, **given):
    """A worker carries a part to its end."""
    if status is Status.FAILED:
        given["error"] = JobError(code="out_of_memory", detail="Too large.")
    assert store.finish(claim(store, part), status, metrics={"device_ms": 500}, **given)


def end_all(store, row):
    """Every part succeeds, the summary last."""
    while not seen(store, row).terminal:
        for due in store.due_for_send():
            end(store, store.get(TENANT, due.id))
        store.tend(TENANT, row.id)
    return seen(store, row)


def test_a_dataset_runs_from_the_start_and_its_shards_wait(store):
    row = dataset(store)
    assert row.status is Status.RUNNING and row.worker is None
    assert [json.loads(part.request_json)["input"]["first"] for part in parts(store, row)] == [0, 2, 4, 6, 8]
    assert {part.lane for part in parts(store, row)} == {"1-normal.shards"}
    assert row.parts["total"] == row.parts["queued"] == 5
    assert store.running() == 0 and store.oldest_queued_s() == 0
    assert [found.id for found in store.list(TENANT)] == [row.id]
    assert len(store.list(TENANT, parent=row.id)) == 5


def test_nobody_claims_the_parent_and_a_worker_gets_shards_in_turn(store):
    row = dataset(store)
    assert store.claim(row.id, "w", payload_version=PAYLOAD_VERSION) is None
    fairest = {"payload_version": PAYLOAD_VERSION, "kinds": KINDS}
    got = store.claim_fairest(row.id, "w", lanes=LANES, **fairest)
    assert got.row.parent == row.id
    assert store.claim_fairest(row.id, "w", lanes=["1-normal.slow"], **fairest) is None


def test_it_ends_when_its_parts_and_their_summary_have(store):
    row = dataset(store, count=4)
    first, second = parts(store, row)
    end(store, first)
    store.tend(TENANT, row.id)
    now = seen(store, row)
    assert (now.progress.step, now.progress.steps, now.progress.value) == (2, 4, 0.5)
    assert "1 of 2 shards" in now.progress.message and now.progress.eta_s is not None
    end(store, second)
    assert store.tend(TENANT, row.id)
    [summary] = [due for due in store.due_for_send()]
    output = OutputRow("manifest.json", "manifest", f"t/x/{summary.id}/m", "application/json", 8, "0" * 64)
    end(store, store.get(TENANT, summary.id), outputs=[output], result={"samples": 4})
    assert store.tend(TENANT, row.id)
    done = seen(store, row)
    assert done.status is Status.SUCCEEDED and done.result == {"samples": 4}
    assert [o.name for o in done.outputs] == ["manifest.json"]
    assert done.metrics["device_ms"] == 1000
    assert not store.tend(TENANT, row.id) and store.parents() == []


def test_what_parts_use_counts_when_they_end_and_nothing_is_held_at_the_end(store):
    row = dataset(store, count=4)
    assert store.usage(TENANT).images_held == 4 and store.usage(TENANT).jobs == 1
    end(store, parts(store, row)[0])
    used = store.usage(TENANT)
    assert (used.images_held, used.images, used.device_s, used.waiting) == (2, 2, 0.5, 0)
    end_all(store, row)
    used = store.usage(TENANT)
    assert (used.images_held, used.images, used.jobs, used.jobs_ended) == (0, 4, 0, 1)
    assert used.device_s == 1.5  # two shards and the summary


def test_a_failed_shard_fails_the_dataset_and_retry_makes_it_alone_again(store):
    row = dataset(store, count=6)
    first, *others = parts(store, row)
    end(store, first, Status.FAILED)
    for part in others:
        end(store, part)
    failed = end_all(store, row)
    assert failed.status is Status.FAILED and failed.error.code == "parts_failed"
    assert [part.id for part in store.list(TENANT, parent=row.id, status=[Status.FAILED])] == [first.id]
    again = store.retry(TENANT, row.id)
    assert again.status is Status.RUNNING and again.error is None
    assert [due.id for due in store.due_for_send()] == [first.id]
    assert store.usage(TENANT).images_held == 2
    done = end_all(store, row)
    assert done.status is Status.SUCCEEDED and store.usage(TENANT).images == 6
    with pytest.raises(Conflict):
        store.retry(TENANT, row.id)


def test_cancel_fans_out_and_what_is_made_is_told_of(store):
    row = dataset(store, count=8)
    first, second, *others = parts(store, row)
    end(store, first)
    held = claim(store, second)
    assert store.cancel(TENANT, row.id).cancel_requested
    assert {store.get(TENANT, part.id).status for part in others} == {Status.CANCELED}
    assert store.get(TENANT, second.id).cancel_requested
    assert store.finish(held, Status.CANCELED)
    done = end_all(store, row)
    assert done.status is Status.CANCELED
    assert store.usage(TENANT).images == 2 and store.usage(TENANT).images_held == 0
    assert store.cancel(TENANT, row.id).status is Status.CANCELED


def test_a_canceled_dataset_with_nothing_made_ends_at_once(store):
    row = dataset(store)
    assert store.cancel(TENANT, row.id).status is Status.CANCELED


def test_paused_shards_are_nobodys_and_go_on_after(store):
    row = dataset(store)
    running = claim(store, parts(store, row)[0])
    paused = store.pause(TENANT, row.id, paused=True)
    assert "paused" in paused.progress.message
    assert store.due_for_send() == [] and store.depths() == {}
    assert store.finish(running, Status.SUCCEEDED)  # what runs goes on
    store.tend(TENANT, row.id)
    assert store.due_for_send() == []
    store.pause(TENANT, row.id, paused=False)
    assert len(store.due_for_send()) == 4
    assert end_all(store, row).status is Status.SUCCEEDED
    with pytest.raises(Conflict):
        store.pause(TENANT, row.id, paused=True)


def test_an_extension_leaves_what_is_there(store):
    row = dataset(store, count=5)
    assert end_all(store, row).status is Status.SUCCEEDED
    before = [part.request_json for part in parts(store, row)]
    longer = store.extend(TENANT, row.id, 3)
    assert longer.status is Status.RUNNING and longer.outputs == ()
    ranges = [json.loads(part.request_json)["input"] for part in parts(store, row)]
    assert [(r["first"], r["count"]) for r in ranges] == [(0, 2), (2, 2), (4, 1), (5, 2), (7, 1)]
    assert [part.request_json for part in parts(store, row)][:3] == before
    assert end_all(store, row).status is Status.SUCCEEDED
    assert store.usage(TENANT).images == 8
    with pytest.raises(Conflict):
        store.extend(TENANT, store.submit(TENANT, ask())[0].id, 3)


def test_only_a_window_of_shards_waits(store):
    row = dataset(store, count=600, size=1)
    assert (len(parts(store, row)), seen(store, row).parts["queued"]) == (256, 600)
    end(store, parts(store, row)[0])
    store.tend(TENANT, row.id)
    assert len(parts(store, row)) == 257


def test_the_parts_of_all_that_is_not_over_are_counted_by_state(store):
    end_all(store, dataset(store, count=2))
    open_, lines = dataset(store, count=600, size=1), batch(store, 2)
    first, second, *_ = parts(store, open_)
    end(store, first), end(store, second, Status.FAILED)
    store.add_lines(TENANT, lines.id, 0, [ask(metadata={"custom_id": "a"})])
    found = {key: count for key, count in store.parts_under_way().items() if count}
    assert found == {
        ("dataset", "waiting"): 254,
        ("dataset", "held"): 344,
        ("dataset", "succeeded"): 1,
        ("dataset", "failed"): 1,
        ("batch", "held"): 2,
    }


def test_where_parts_end_fast_more_of_them_wait(store, monkeypatch):
    """Or workers would run out of them between two rounds of the reaper."""
    monkeypatch.setattr("jobs.store.tending.WINDOW", 4)
    row = dataset(store, count=600, size=1)
    for part in parts(store, row):
        end(store, part)
    store.tend(TENANT, row.id)
    assert len(parts(store, row)) > 8


def test_a_dataset_rests_while_the_quota_is_used_up(store):
    store.quotas = Quotas(max_device_s_per_day=0.4)
    row = dataset(store, count=4)
    end(store, parts(store, row)[0])  # half a second
    store.tend(TENANT, row.id)
    assert "quota" in seen(store, row).progress.message and store.due_for_send() == []
    store.quotas = Quotas()
    store.tend(TENANT, row.id)
    assert len(store.due_for_send()) == 1


def test_more_pictures_than_may_be_are_refused_at_once(store):
    store.quotas = Quotas(max_images_per_day=10)
    dataset(store, count=8)
    with pytest.raises(QuotaExceeded):
        dataset(store, count=4)


@pytest.mark.parametrize(
    ("quota", "each", "words"),
    [
        ({"max_bytes": 1000}, {"each_bytes": 100}, "Delete jobs"),
        ({"max_device_s_per_day": 100.0}, {"each_s": 10}, "00:00 UTC"),
    ],
)
def test_what_datasets_are_likely_to_take_is_held_and_given_back_as_they_are_made(store, quota, each, words):
    store.quotas = Quotas(**quota)
    row = dataset(store, count=6, size=3, asked=needing(6, **each))
    with pytest.raises(QuotaExceeded, match=words):
        dataset(store, count=5, asked=needing(5, **each))
    with pytest.raises(LimitExceeded, match="fewer"):
        dataset(store, count=11, asked=needing(11, **each))
    assert "likely" in store.refusal(TENANT, needing(5, **each)(None))
    assert store.refusal(TENANT, needing(4, **each)(None)) is None
    end(store, parts(store, row)[0])  # for less than was thought: half a second, no bytes
    assert store.usage(TENANT).bytes_held == 3 * each.get("each_bytes", 0)
    second = dataset(store, count=5, asked=needing(5, **each))
    store.cancel(TENANT, second.id)
    assert store.usage(TENANT).device_s_held == 3 * each.get("each_s", 0)


def test_without_a_limit_nothing_is_asked_of_the_past(store):
    store.quotas = Quotas(max_images_per_day=100)
    dataset(store, asked=lambda past: pytest.fail("it is asked"))


def test_an_extension_is_likely_to_take_what_was_taken(store):
    row = dataset(store, count=4)
    for part in parts(store, row):
        tar = OutputRow(
            f"{part.place}.tar", "shard", f"t/x/{part.place}.tar", "application/x-tar", 80, "0" * 64
        )
        end(store, part, outputs=[tar])
    end_all(store, row)
    store.quotas = Quotas(max_bytes=300, max_device_s_per_day=100.0)
    with pytest.raises(QuotaExceeded, match="stored or ordered"):
        store.extend(TENANT, row.id, 4)  # 160 more, beside as many
    store.extend(TENANT, row.id, 2)
    assert (store.usage(TENANT).bytes_held, store.usage(TENANT).device_s_held) == (80, 0.5)


def test_what_lies_in_a_bucket_of_the_tenant_s_is_not_counted(store):
    row = dataset(store, count=2)
    [part] = parts(store, row)
    key = f"b/acme/{TENANT}/{row.id}/train-000000.tar"
    end(store, part, outputs=[OutputRow("a.tar", "shard", key, "application/x-tar", 8, "0" * 64)])
    assert store.usage(TENANT).stored_bytes == 0
    end_all(store, row)
    store.delete(TENANT, row.id)
    assert store.usage(TENANT).stored_bytes == 0


def test_a_prefix_is_one_datasets(store):
    row = dataset(store, prefix="faces")
    with pytest.raises(Conflict, match="faces"):
        dataset(store, prefix="faces")
    end_all(store, row)
    store.delete(TENANT, row.id)
    with pytest.raises(Conflict, match="being removed"):  # else the reaper would take the new one's files too
        dataset(store, prefix="faces")
    for found in store.prefixes_to_remove():
        store.forget_prefix(*found)
    dataset(store, prefix="faces")


def test_deleting_a_dataset_removes_its_parts_and_their_files(store):
    row = dataset(store, count=2)
    [part] = parts(store, row)
    end(store, part, outputs=[OutputRow("a.tar", "shard", "t/x/a.tar", "application/x-tar", 8, "0" * 64)])
    assert store.usage(TENANT).stored_bytes == 8
    end_all(store, row)
    with pytest.raises(Conflict, match="part of"):
        store.delete(TENANT, part.id)
    store.delete(TENANT, row.id)
    assert store.list(TENANT, parent=row.id) == [] and store.usage(TENANT).stored_bytes == 0
    with store.database.read() as connection:
        prefixes = {found.prefix for found in connection.execute(removals.select())}
    assert f"t/{TENANT}/s/{row.id}/" in prefixes and f"t/{TENANT}/j/{part.id}/" in prefixes


def test_a_shard_of_a_dead_worker_comes_back(store, later):
    row = dataset(store, count=2)
    [part] = parts(store, row)
    claim(store, part)
    later(part.id, 31)
    assert store.reap_leases() == 1
    assert store.due_for_send()[0].id == part.id
    assert end_all(store, row).status is Status.SUCCEEDED


def test_lines_wait_until_all_are_there_then_end_each_for_itself(store):
    row = batch(store, 3)
    store.add_lines(TENANT, row.id, 0, [ask(metadata={"custom_id": "a"}), ask(metadata={"custom_id": "b"})])
    store.tend(TENANT, row.id)
    assert store.due_for_send() == [] and all(p.lane.startswith(HELD) for p in parts(store, row))
    store.add_lines(TENANT, row.id, 2, [ask(metadata={"custom_id": "c"})])
    store.tend(TENANT, row.id)
    assert {due.lane for due in store.due_for_send()} == {"1-normal.fast"}
    first, *others = parts(store, row)
    end(store, first, Status.FAILED)
    for part in others:
        end(store, part)
    done = end_all(store, row)
    assert done.status is Status.SUCCEEDED  # a batch tells of failures, it does not fail of them
    assert (done.parts["failed"], done.parts["succeeded"]) == (1, 2)
    again = store.retry(TENANT, row.id)
    assert again.status is Status.RUNNING and [d.id for d in store.due_for_send()] == [first.id]


def test_a_batch_that_was_broken_off_fails(store, later):
    row = batch(store, 3)
    store.add_lines(TENANT, row.id, 0, [ask()])
    later(row.id, 700)
    store.tend(TENANT, row.id)
    done = end_all(store, row)
    assert done.status is Status.FAILED and done.error.code == "internal_error"
