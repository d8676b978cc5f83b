"""A database that does not answer, and one clock for everybody."""

import pytest
from sqlalchemy import select, text

from jobs.errors import StoreUnavailable
from jobs.store import JobStore, connect
from jobs.store.database import now
from tests.jobs.given import TENANT, ask, submit


@pytest.mark.parametrize(
    "url", ["sqlite:////proc/nowhere/ganserve.db", "postgresql://ganserve@/postgres?host=/nowhere"]
)
def test_a_database_that_is_not_there_is_unavailable(url):
    store = JobStore(connect(url))

    for call in (store.ping, lambda: store.submit(TENANT, ask()), lambda: store.get(TENANT, "job_1")):
        with pytest.raises(StoreUnavailable):
            call()
    store.close()


def test_a_database_that_stays_locked_is_unavailable_until_it_is_free(store, monkeypatch):
    monkeypatch.setattr("jobs.store.database.BUSY_S", 0.1)
    impatient = JobStore(connect(store.database.engine.url.render_as_string(hide_password=False)))
    with store.database.write() as holder:
        if holder.dialect.name == "postgresql":
            holder.execute(text("LOCK TABLE jobs"))
        with pytest.raises(StoreUnavailable):
            submit(impatient)

    assert submit(impatient).seq == 1
    impatient.close()


def test_the_clock_counts_seconds_since_1970(store):
    with store.database.read() as connection:
        first, second = connection.scalar(select(now())), connection.scalar(select(now()))

    assert isinstance(first, float) and 1.7e9 < first <= second
