"""A database that does not answer, and one clock for everybody."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

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


def test_connections_that_open_a_new_file_at_once_all_get_it(tmp_path):
    """Eight at a time, many times: without waiting, a few in a thousand are told that it is locked."""
    with ThreadPoolExecutor(8) as pool:
        for n in range(40):
            together = Barrier(8)

            def opened(
                _: int, url: str = f"sqlite:///{tmp_path}/{n}.db", together: Barrier = together
            ) -> str:
                engine = connect(url)
                together.wait()
                with engine.connect() as connection:
                    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                engine.dispose()
                return mode

            assert set(pool.map(opened, range(8))) == {"wal"}
