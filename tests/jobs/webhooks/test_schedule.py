"""Ten attempts over about three days."""

import pytest

from jobs.webhooks.schedule import JITTER, MAX_TRIES, wait_s


def least(tries, retry_after_s=None):
    return wait_s(tries, retry_after_s, jitter=lambda: 0.0)


def test_the_waits_are_those_that_the_documentation_promises():
    hours = [2, 5, 10, 14, 20, 24]

    assert [least(tries) for tries in range(1, MAX_TRIES)] == [5, 300, 1800, *(3600 * h for h in hours)]
    assert least(MAX_TRIES) is None
    assert 3 * 86400 < sum(least(tries) for tries in range(1, MAX_TRIES)) < 3.5 * 86400


def test_each_wait_is_lengthened_at_random_by_up_to_a_tenth():
    assert wait_s(2, jitter=lambda: 1.0) == pytest.approx(300 * (1 + JITTER))
    assert len({wait_s(2) for _ in range(20)}) > 10
    assert all(300 <= wait_s(2) <= 330 for _ in range(100))


def test_retry_after_lengthens_a_wait_up_to_an_hour_and_never_shortens_it():
    assert least(1, 120) == 120
    assert least(1, 86_400) == 3600
    assert least(3, 10) == 1800
    assert least(4, 3600) == 7200
    assert least(MAX_TRIES, 10) is None
