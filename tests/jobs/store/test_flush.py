"""Group commit: whoever waited is on disk, and waiting together costs one flush."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.schemas import PAYLOAD_VERSION
from jobs.store import JobStore
from jobs.store.flush import Flush
from tests.jobs.given import TENANT, submit


class CountedFlush(Flush):
    """Flushes that stop at a gate, so that a test can let others come meanwhile."""

    def __init__(self, database, failures=0):
        super().__init__(database)
        self.count, self.failures = 0, failures
        self.gate, self.entered = threading.Event(), threading.Event()

    def _sync(self):
        self.count += 1
        self.entered.set()
        assert self.gate.wait(10)
        if self.count <= self.failures:
            raise OSError("no space left")


def test_those_who_come_during_a_flush_share_the_next(tmp_path):
    flush = CountedFlush(tmp_path / "x.db")
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(flush.wait)
        flush.entered.wait(10)
        others = [pool.submit(flush.wait) for _ in range(8)]
        while flush._asked < 9:
            time.sleep(0.001)
        flush.gate.set()
        for waiting in (first, *others):
            waiting.result(10)

    assert flush.count == 2  # the one that ran, and one for all who committed after it began


def test_a_flush_that_fails_tells_its_own_and_the_next_tries_again(tmp_path):
    flush = CountedFlush(tmp_path / "x.db", failures=1)
    flush.gate.set()

    with pytest.raises(OSError):
        flush.wait()
    flush.wait()

    assert flush.count == 2


def test_a_commit_is_flushed_before_submit_returns_and_a_heartbeats_is_not(store: JobStore, monkeypatch):
    if store.database._flush is None:
        pytest.skip("PostgreSQL flushes by itself")
    flushed = []
    monkeypatch.setattr(store.database._flush, "_sync", lambda: flushed.append(store.running()))

    row = submit(store)
    held = store.claim(row.id, "w", payload_version=PAYLOAD_VERSION)
    assert flushed == [0, 1]  # after each commit, for the claim is visible by then
    store.heartbeat(held)
    assert len(flushed) == 2
    assert store.get(TENANT, row.id).id == row.id


def test_a_database_without_a_wal_has_nothing_to_flush(tmp_path):
    Flush(tmp_path / "x.db").wait()
