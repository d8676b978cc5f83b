"""Lists: newest first, page by page, filtered."""

import pytest

from jobs.schemas import Status
from tests.jobs.given import TENANT, ask, claim, picture, submit


def ids(rows):
    return [row.id for row in rows]


def pages(store, limit, **filters):
    """Every page, as a caller reads them."""
    after, read = None, []
    while rows := store.list(TENANT, after=after, limit=limit, **filters):
        read.append(ids(rows))
        after = (rows[-1].created_at, rows[-1].id)
    return read


def test_newest_first_and_every_job_once(store, later):
    rows = [submit(store) for _ in range(7)]
    for age, row in enumerate(reversed(rows)):
        later(row.id, age)

    read = pages(store, limit=3)

    assert [len(page) for page in read] == [3, 3, 1]
    assert [id for page in read for id in page] == ids(reversed(rows))


def test_equal_times_are_ordered_by_id(store, at_one_time):
    rows = [submit(store) for _ in range(6)]
    at_one_time()

    assert [id for page in pages(store, limit=2) for id in page] == sorted(ids(rows), reverse=True)


def test_jobs_that_come_while_paging_change_nothing(store, later):
    rows = [submit(store) for _ in range(4)]
    for age, row in enumerate(reversed(rows)):
        later(row.id, age + 1)
    first = store.list(TENANT, limit=2)

    submit(store)
    second = store.list(TENANT, after=(first[-1].created_at, first[-1].id), limit=2)

    assert ids(first) + ids(second) == ids(reversed(rows))


def test_a_page_behind_a_deleted_job_goes_on(store, later):
    rows = [submit(store) for _ in range(3)]
    for age, row in enumerate(reversed(rows)):
        later(row.id, age)
    (newest,) = store.list(TENANT, limit=1)
    store.cancel(TENANT, newest.id)
    store.delete(TENANT, newest.id)

    assert ids(store.list(TENANT, after=(newest.created_at, newest.id))) == ids([rows[1], rows[0]])


def test_filters(store, later):
    old, running = submit(store, metadata={"customer": "42", "a.b": "x"}), submit(store, model="other")
    claim(store, running)
    later(old.id, 100)
    middle = old.created_at - 50

    assert ids(store.list(TENANT, status=[Status.QUEUED])) == [old.id]
    assert ids(store.list(TENANT, status=[Status.QUEUED, Status.RUNNING])) == [running.id, old.id]
    assert ids(store.list(TENANT, kind="generate", model="other")) == [running.id]
    assert store.list(TENANT, kind="invert") == []
    assert ids(store.list(TENANT, created_before=middle)) == [old.id]
    assert ids(store.list(TENANT, created_after=middle)) == [running.id]


@pytest.mark.parametrize(
    "wanted, found",
    [
        ({"customer": "42"}, True),
        ({"a.b": "x"}, True),
        ({"customer": "42", "a.b": "x"}, True),
        ({"customer": "4%"}, False),
        ({"customer": "42", "a.b": "y"}, False),
        ({"b": "x"}, False),
        ({"absent": ""}, False),
        ({"empty": ""}, True),
        ({"quote": 'it\'s "so"'}, True),
    ],
)
def test_metadata_is_matched_literally(store, wanted, found):
    row = submit(store, metadata={"customer": "42", "a.b": "x", "empty": "", "quote": 'it\'s "so"'})
    submit(store)

    assert ids(store.list(TENANT, metadata=wanted)) == [row.id] * found


def test_listed_jobs_have_their_outputs(store):
    claims = [claim(store, submit(store)) for _ in range(2)]
    for held in claims:
        store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])
    store.submit("other", ask())

    assert {row.id: row.outputs for row in store.list(TENANT)} == {
        held.job_id: (picture(held),) for held in claims
    }
