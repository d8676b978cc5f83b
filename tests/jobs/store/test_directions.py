"""Sets of directions that tenants add to models."""

import json
from dataclasses import replace

import pytest

from jobs.errors import Conflict, NotFound
from jobs.schemas import Status, request_adapter
from jobs.store import DirectionSetRow
from tests.jobs.given import LIMITS, TENANT, claim

SET = DirectionSetRow("faces", "smiles", "a" * 64, "t/default/d/faces/smiles/j/", 70, [{"name": "smiles_0"}])
DISCOVER = b'{"kind": "discover", "model": "faces", "input": {"method": "sefa", "name": "smiles"}}'


def test_a_set_is_read_back_listed_and_counted(store):
    store.put_directions(TENANT, SET)
    found = store.get_directions(TENANT, "faces", "smiles")
    assert replace(found, created_at=0.0) == SET and found.created_at > 1.7e9
    assert store.list_directions(TENANT, "faces") == store.list_directions(TENANT) == [found]
    assert store.list_directions(TENANT, "other") == [] == store.list_directions("other")
    assert store.usage(TENANT).stored_bytes == 70


def test_names_of_sets_and_of_directions_are_unique_within_a_model(store):
    store.put_directions(TENANT, SET)
    for other in (SET, replace(SET, name="b", listing=[{"name": "b"}, {"name": "smiles_0"}])):
        with pytest.raises(Conflict) as error:
            store.put_directions(TENANT, other)
        assert error.value.code == "name_taken"
    store.put_directions(TENANT, replace(SET, model="cars"))
    store.put_directions("other", SET)


def test_a_deleted_set_leaves_its_files_to_the_reaper(store):
    store.put_directions(TENANT, SET)
    with pytest.raises(NotFound):
        store.delete_directions("other", "faces", "smiles")
    store.delete_directions(TENANT, "faces", "smiles")
    with pytest.raises(NotFound):
        store.delete_directions(TENANT, "faces", "smiles")
    with pytest.raises(NotFound):
        store.get_directions(TENANT, "faces", "smiles")
    assert store.prefixes_to_remove() == [(TENANT, SET.prefix)]
    assert store.usage(TENANT).stored_bytes == 0


def test_a_job_whose_name_is_taken_is_refused_unless_it_is_a_repetition(store):
    request = request_adapter.validate_json(DISCOVER)
    row, _ = store.submit(TENANT, request, idempotency_key="k")
    store.put_directions(TENANT, SET)
    assert store.submit(TENANT, request, idempotency_key="k") == (row, False)
    with pytest.raises(Conflict) as error:
        store.submit(TENANT, request, idempotency_key="another")
    assert error.value.code == "name_taken"


def test_a_set_appears_with_its_jobs_success_or_not_at_all(store):
    row, _ = store.submit(TENANT, request_adapter.validate_json(DISCOVER))
    held = claim(store, row)
    store.put_directions(TENANT, SET)
    with pytest.raises(Conflict):
        store.finish(held, Status.SUCCEEDED, found=SET)
    store.delete_directions(TENANT, "faces", "smiles")
    assert store.finish(held, Status.SUCCEEDED, found=SET)
    assert [found.name for found in store.list_directions(TENANT)] == ["smiles"]


def test_the_upload_of_a_set_is_swept_with_its_job(store, later):
    upload = {"method": "import", "name": "a", "upload": "t/default/u/x", "sha256": "0" * 64}
    body = {"kind": "discover", "model": "faces", "input": upload}
    brought, _ = store.submit(TENANT, request_adapter.validate_json(json.dumps(body)))
    found, _ = store.submit(TENANT, request_adapter.validate_json(DISCOVER))
    for row in (brought, found):
        store.cancel(TENANT, row.id)
        later(row.id, LIMITS.leftovers_s + 1)
    swept = {left.job_id: left.upload for left in store.leftovers()}
    assert swept == {brought.id: "t/default/u/x", found.id: None}
