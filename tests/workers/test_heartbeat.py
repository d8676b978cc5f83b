"""The lease on a clock of our own: when it is renewed, and when it counts as lost."""

import pytest

from jobs.errors import StoreUnavailable
from jobs.schemas import PAYLOAD_VERSION, Progress
from jobs.store import Beat
from workers.heartbeat import Heartbeat


class Store:
    """Answers beats as it is told to."""

    def __init__(self) -> None:
        self.answer: Beat | Exception = Beat.OK
        self.beats: list[dict] = []

    def heartbeat(self, claim, **said):
        self.beats.append(said)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def heartbeat(store, clock, claim):
    """With a lease of 30 s and a stall limit of 120 s; its thread is not started."""
    return Heartbeat(store, claim, lease_s=30, period_s=10, stall_s=120, clock=clock)


@pytest.fixture
def claim(context, submit):
    return context.store.claim(submit().id, "w1", payload_version=PAYLOAD_VERSION)


def test_a_beat_carries_what_is_new_and_says_whether_the_work_moved(heartbeat, store):
    heartbeat.beat()
    heartbeat.advance(Progress(value=0.5))
    heartbeat.beat()
    heartbeat.beat()
    assert [beat["advanced"] for beat in store.beats] == [False, True, False]
    assert [beat["progress"] and beat["progress"].value for beat in store.beats] == [None, 0.5, None]


def test_a_checkpoint_is_recorded_at_once(heartbeat, store):
    heartbeat.checkpoint("t/default/j/x/ckpt/1-5.safetensors")
    assert [beat["checkpoint_key"] for beat in store.beats] == ["t/default/j/x/ckpt/1-5.safetensors"]


@pytest.mark.parametrize("answer", [Beat.CANCEL, Beat.LOST])
def test_what_the_database_says_is_final(heartbeat, store, answer):
    store.answer = answer
    heartbeat.beat()
    store.answer = Beat.OK
    heartbeat.beat()
    assert heartbeat.verdict is answer and len(store.beats) == 1


def test_a_lease_that_could_not_be_renewed_for_its_length_is_lost(heartbeat, store, clock):
    store.answer = StoreUnavailable()
    for clock.now in (10, 20, 30):
        heartbeat.beat()
        assert heartbeat.verdict is Beat.OK
    clock.now = 30.1
    assert heartbeat.verdict is Beat.LOST


def test_a_database_that_comes_back_in_time_is_forgiven(heartbeat, store, clock):
    store.answer = StoreUnavailable()
    clock.now = 20
    heartbeat.beat()
    store.answer = Beat.OK
    clock.now = 25
    heartbeat.beat()
    clock.now = 50
    assert heartbeat.verdict is Beat.OK


def test_progress_that_could_not_be_told_is_told_later(heartbeat, store):
    store.answer = StoreUnavailable()
    heartbeat.advance(Progress(value=0.5))
    heartbeat.beat()
    store.answer = Beat.OK
    heartbeat.beat()
    assert store.beats[-1]["progress"].value == 0.5 and store.beats[-1]["advanced"]


def test_a_process_that_was_frozen_for_longer_than_its_lease_knows_it_before_it_asks(heartbeat, store, clock):
    clock.now = 10
    heartbeat.beat()
    clock.now = 60  # nothing ran in between
    assert heartbeat.verdict is Beat.LOST
    heartbeat.beat()
    assert len(store.beats) == 1  # a late renewal could win a lease back that others count as ended


def test_the_lease_of_work_that_stands_still_runs_out(heartbeat, store, clock):
    for clock.now in range(10, 160, 10):
        heartbeat.beat()
    assert len(store.beats) == 12  # until 120 s
    clock.now = 151
    assert heartbeat.verdict is Beat.LOST
