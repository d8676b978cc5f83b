"""When which fault comes: drawn from a seed, so that a run can be repeated.

Faults are dealt like cards: each kind comes once, in random order, before any comes again. They last, so
they overlap.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

GAP_S = (1.0, 3.0)  # from the start of one fault to that of the next

LASTS_S = {
    "worker_kill": (0.2, 2.0),  # until another is started
    "worker_stop": (0.2, 2.0),
    "worker_freeze": (5.5, 8.0),  # longer than the tests' lease
    "gateway_kill": (0.2, 2.0),
    "gateway_freeze": (1.0, 4.0),
    "reaper_kill": (0.5, 4.0),
    "dispatcher_kill": (0.2, 2.0),
    "dispatcher_freeze": (1.0, 4.0),
    "redis_kill": (0.2, 3.0),
    "redis_freeze": (1.0, 4.0),
    "redis_flush": (0.0, 0.0),
    "redis_reset": (0.0, 0.0),
    "postgres_crash": (0.2, 2.0),
    "postgres_disconnect": (0.0, 0.0),
    "s3_error": (1.0, 4.0),
    "s3_stall": (1.0, 5.0),
    "s3_reset": (0.5, 3.0),
    "disk_full": (1.0, 4.0),
}
"""Every kind of fault, and for how long it may last, in seconds."""

ANYWHERE = (
    "worker_kill",
    "worker_stop",
    "worker_freeze",
    "gateway_kill",
    "gateway_freeze",
    "reaper_kill",
    "redis_kill",
    "redis_freeze",
    "redis_flush",
    "redis_reset",
)
POSTGRES = ("postgres_crash", "postgres_disconnect")
S3 = ("s3_error", "s3_stall", "s3_reset")
SMALL_DISK = ("disk_full",)
DISPATCHER = ("dispatcher_kill", "dispatcher_freeze")  # where webhooks are delivered


@dataclass(frozen=True)
class Fault:
    kind: str
    at_s: float  # since the start
    lasts_s: float


def draw(seed: int, kinds: Sequence[str], count: int) -> list[Fault]:
    """`count` faults of these kinds, in the order of their times."""
    rng = random.Random(seed)
    deck: list[str] = []
    faults, at_s = [], 0.0
    for _ in range(count):
        if not deck:
            deck = rng.sample(kinds, len(kinds))
        at_s += rng.uniform(*GAP_S)
        kind = deck.pop()
        faults.append(Fault(kind, at_s, rng.uniform(*LASTS_S[kind])))
    return faults


def length_s(faults: Sequence[Fault]) -> float:
    """Until the last of them is over."""
    return max(fault.at_s + fault.lasts_s for fault in faults)
