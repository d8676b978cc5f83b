"""Looking at many pictures, some at a time. What the metrics need of each is kept, never the picture."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from generative.metrics import examiner as ops
from generative.metrics.examiner import Examiner, Inputs, Op, Paint, Run
from generative.metrics.pictures import PictureSet, Renders, noisy, rendered

CHUNK = 32  # pictures between two words on progress
RENDER = 5  # a picture that has to be rendered counts as so many that are only looked at

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Seen:
    """What the metrics need to know of N pictures."""

    features: Tensor  # (N, D)
    readings: Mapping[str, Tensor] = field(default_factory=dict)  # (N,) by factor


class Meter:
    """Turns pictures looked at into a share of all work, and tells it."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, max(1, total), 0

    def __call__(self, units: int, message: str) -> None:
        self._done += units
        self._tell(min(1.0, self._done / self._total), message)


class Viewer:
    """Looks with the networks of an examiner, and tells how far it is."""

    def __init__(self, examiner: Examiner, run: Run, meter: Meter) -> None:
        self._examiner, self._run, self._meter = examiner, run, meter

    def samples(self, codes: Inputs, paint: Paint, message: str = "samples") -> Seen:
        """The pictures of N codes, as `paint` takes them."""
        N = len(next(iter(codes.values())))
        parts = ({name: t[rows.start : rows.stop] for name, t in codes.items()} for rows in chunks(N))
        return _joined([self._look(ops.LookAtSamples(paint), part, message) for part in parts])

    def pictures(self, found: PictureSet, message: str = "reference") -> Seen:
        cost = RENDER if isinstance(found, Renders) else 1
        return _joined([self._see(found.pictures(r), message, cost) for r in chunks(len(found))])

    def renders(self, factors: Tensor, size: int, message: str) -> Seen:
        """Portraits of the factors (N, F)."""
        return _joined([self._see(rendered(f, size), message, RENDER) for f in factors.split(CHUNK)])

    def clean_and_noisy(self, renders: Renders) -> tuple[Seen, Seen]:
        """Renders, and the same with 5 % noise."""
        clean, noised = [], []
        for rows in chunks(len(renders)):
            pictures = renders.pictures(rows)
            clean.append(self._see(pictures, "renders", RENDER))
            noised.append(self._see(noisy(pictures, rows, renders.seed), "noisy renders", 1))
        return _joined(clean), _joined(noised)

    def _see(self, pictures: Tensor, message: str, cost: int) -> Seen:
        return self._look(ops.look_at_pictures, {"pictures": pictures}, message, cost)

    def _look(self, op: Op, inputs: Inputs, message: str, cost: int = 1) -> Seen:
        found = self._run(op, inputs)
        self._meter(cost * len(found["features"]), message)
        reader = self._examiner.reader
        return Seen(found["features"], reader.decode(found["readings"]) if reader is not None else {})


def chunks(N: int, size: int = CHUNK) -> Iterator[range]:
    """0 to N - 1, `size` numbers at a time."""
    for start in range(0, N, size):
        yield range(start, min(start + size, N))


def _joined(parts: Sequence[Seen]) -> Seen:
    readings = {name: torch.cat([part.readings[name] for part in parts]) for name in parts[0].readings}
    return Seen(torch.cat([part.features for part in parts]), readings)
