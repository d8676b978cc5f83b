"""When a delivery that failed is tried again: ten attempts over about three days.

At once, then after 5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 hours. Each wait is lengthened by up to a
tenth at random, so that what failed together does not come back together.
"""

import random
from collections.abc import Callable

WAITS_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
MAX_TRIES = len(WAITS_S) + 1
LONGEST_RETRY_AFTER_S = 3600  # that a receiver may ask for
JITTER = 0.1


def wait_s(
    tries: int, retry_after_s: float | None = None, *, jitter: Callable[[], float] = random.random
) -> float | None:
    """Seconds until the next attempt after `tries` failed ones; None when that was the last."""
    if tries >= MAX_TRIES:
        return None
    asked_s = min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
    return max(WAITS_S[tries - 1], asked_s) * (1 + JITTER * jitter())
