"""The watchdog and the rule of who runs beside whom."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from workers.company import Company
from workers.engine import Engine
from workers.reporter import Canceled
from workers.watchdog import Watchdog

LONG = 20


@pytest.mark.parametrize(
    ("busy", "silent_s", "stalls"), [(True, 121, True), (True, 119, False), (False, 500, False)]
)
def test_an_engine_stalls_when_it_is_busy_with_one_step_for_too_long(busy, silent_s, stalls):
    engine = SimpleNamespace(busy=busy, last_tick=1000.0)
    watchdog = Watchdog(engine, 120, bite=pytest.fail, clock=lambda: 1000.0 + silent_s)
    assert watchdog.look() is stalls


def test_a_step_that_hangs_makes_the_watchdog_bite():
    released, bites = threading.Event(), []

    def hang(generator, inputs):
        released.wait(LONG)
        return inputs["x"]

    network = nn.Module()
    network.img_resolution = 64
    with Engine("cpu") as engine:
        watchdog = Watchdog(engine, 0.1, bite=lambda reason: (bites.append(reason), released.set()))
        watchdog.start()
        engine.forward(SimpleNamespace(generator=network), hang, {"x": torch.zeros(1, 1)}).result(LONG)
        watchdog.stop()
    assert len(bites) == 1 and "0.1 s" in bites[0]


def test_a_watchdog_that_is_stopped_ends():
    watchdog = Watchdog(SimpleNamespace(busy=False, last_tick=0.0), 1, bite=pytest.fail)
    watchdog.start()
    watchdog.stop()
    assert not watchdog.is_alive()


def nothing() -> None:
    pass


def test_ordinary_jobs_run_beside_one_another():
    company = Company()
    with company.join(False, nothing), company.join(False, nothing):
        pass


def test_nobody_joins_a_lone_job_and_the_next_comes_when_it_has_left():
    company, order = Company(), []
    inside, leave = threading.Event(), threading.Event()

    def loner():
        with company.join(True, nothing):
            inside.set()
            leave.wait(LONG)
            order.append("loner")

    def other():
        with company.join(False, nothing):
            order.append("other")

    threads = [threading.Thread(target=loner), threading.Thread(target=other)]
    threads[0].start()
    assert inside.wait(LONG)
    threads[1].start()
    time.sleep(0.3)
    leave.set()
    for thread in threads:
        thread.join(LONG)
    assert order == ["loner", "other"]


def test_a_lone_job_that_is_stopped_while_it_waits_lets_others_in_again():
    company = Company()

    def stop() -> None:
        raise Canceled

    with company.join(False, nothing):
        with pytest.raises(Canceled), company.join(True, stop):
            pytest.fail("entered beside another")
        with company.join(False, nothing):
            pass
