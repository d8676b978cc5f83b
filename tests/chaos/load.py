"""What callers ask for during a storm: a mix of jobs, drawn from the seed, each until it is accepted."""

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from client import Client
from client.errors import ApiError, ClientError, StateConflict
from tests.chaos.rig import MODEL

PATIENCE_S = 120.0
CALLERS = 6
MIX = {"generate": 40, "invert": 32, "dataset": 8, "cancel": 10, "overrun": 5, "deadline": 5}


@dataclass(frozen=True)
class Order:
    """One job to ask for, `at_s` after the start; to be canceled `cancel_after_s` later."""

    at_s: float
    key: str
    body: dict[str, Any]
    cancel_after_s: float | None = None


def orders(seed: int, count: int, within_s: float, image: str, mix: Mapping[str, int] = MIX) -> list[Order]:
    """`count` jobs in the order of their times. `image`: what inversions start from; `mix`: weights."""
    rng = random.Random(seed)
    times = sorted(rng.uniform(0, within_s) for _ in range(count))
    kinds = rng.choices(list(mix), list(mix.values()), k=count)
    return [
        _order(rng, kind, at_s, f"chaos-{seed}-{n}", image)
        for n, (kind, at_s) in enumerate(zip(kinds, times, strict=True))
    ]


def _order(rng: random.Random, kind: str, at_s: float, key: str, image: str) -> Order:
    generate = {
        "kind": "generate",
        "model": MODEL,
        "input": {"source": {"seeds": [rng.randrange(1000) for _ in range(rng.randint(1, 4))]}},
    }
    match kind:
        case "generate":
            return Order(at_s, key, generate)
        case "dataset":
            return Order(at_s, key, _dataset(rng))
        case "deadline":
            return Order(at_s, key, generate | {"deadline_s": 0.2})
        case "overrun":
            return Order(at_s, key, _invert(image, rng, 5000) | {"timeout_s": 1.5})
        case "cancel":
            return Order(at_s, key, _invert(image, rng, 5000), rng.uniform(0.2, 4.0))
    return Order(at_s, key, _invert(image, rng, rng.randint(300, 3000)))


def _dataset(rng: random.Random) -> dict[str, Any]:
    """Four shards, the last of them smaller."""
    inputs = {"count": 100, "shard_size": 28, "seed": rng.randrange(1000), "noise": "random"}
    output = {"format": "jpeg", "latents": "w"}
    return {"kind": "dataset", "model": MODEL, "input": inputs, "output": output}


def once_more(wanted: Sequence[Order]) -> list[Order]:
    """The datasets again, at once: what a quiet run makes of them."""
    datasets = [order for order in wanted if order.body["kind"] == "dataset"]
    return [replace(order, at_s=0.0, key=f"{order.key}-again") for order in datasets]


def _invert(image: str, rng: random.Random, steps: int) -> dict[str, Any]:
    losses = {"pixel": 1.0, "perceptual": 0.0}  # the tiny model has no perceptual network
    inputs = {"images": [image], "steps": steps, "preview_every": 0, "losses": losses}
    return {"kind": "invert", "model": MODEL, "input": inputs | {"seed": rng.randrange(1000)}}


@dataclass
class Callers:
    """Callers who do not give up: `accepted` are the ids that they were given, `refusals` counts the rest."""

    url: str
    accepted: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    def ask(self, wanted: Sequence[Order]) -> None:
        """Ask for everything at its time; returns when all of it is accepted."""
        began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as pool:
            for order in wanted:
                time.sleep(max(0.0, began + order.at_s - time.monotonic()))
                pool.submit(self._submit, order)

    def _submit(self, order: Order) -> None:
        with Client(self.url) as client:
            job_id = self._insist(lambda: client.submit(order.body, idempotency_key=order.key).id)
            if job_id is None:
                return
            self.accepted.append(job_id)
            if order.cancel_after_s is not None:
                time.sleep(order.cancel_after_s)
                self._insist(lambda: client.cancel(job_id).id)

    def _insist(self, call: Any) -> str | None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                found: str = call()
                return found
            except StateConflict:
                return None
            except ClientError as error:
                status = error.status if isinstance(error, ApiError) else "no answer"
                self.refusals[f"{status} {error.code}"] += 1
                time.sleep(0.2)
        self.refusals["gave up"] += 1
        return None
