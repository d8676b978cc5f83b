"""Paints what an edit shows: for each source the picture before, and one for each variant.

A column has one picture for each of N sources. All columns of a few sources are asked for at once, and the
engine merges what it can: columns with the same generator and the same operation share blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from workers.blocks import Answer, Op
from workers.images import Pixels, to_pixels
from workers.job import RunningJob
from workers.work.sources import CHUNK, Painter, Tuned, tuned_by

Tunings = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Column:
    painter: Painter
    op: Op
    inputs: Mapping[str, Tensor]  # (N, ...) each

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def submit(self, job: RunningJob[Any], rows: slice, painter: Painter | None = None) -> Answer:
        some = {name: t[rows] for name, t in self.inputs.items()}
        return job.submit(painter or self.painter, self.op, some)


def painted(
    job: RunningJob[Any], columns: Sequence[Column], tunings: Tunings, begin: float
) -> Iterator[tuple[int, list[Pixels]]]:
    """The first source of each chunk, and (n, H, W, 3) of every column. Progress goes from `begin` to 1.

    `tunings`: what was added to the generator for each source; empty without.
    """
    N = len(columns[0])
    rows = 1 if tunings else max(1, CHUNK // len(columns))
    pending: list[Answer] = []
    for first in range(0, N + rows, rows):
        following = _submit(job, columns, slice(first, first + rows), tunings) if first < N else []
        if pending:
            yield first - rows, [to_pixels(job.wait(answer)) for answer in pending]
            done = min(first, N)
            job.reporter.report(begin + (1 - begin) * done / N, done, N)
        pending = following


def _submit(job: RunningJob[Any], columns: Sequence[Column], rows: slice, tunings: Tunings) -> list[Answer]:
    tuned: Tuned | None = tuned_by(columns[0].painter, tunings[rows.start]) if tunings else None
    return [column.submit(job, rows, tuned) for column in columns]


def pictures(job: RunningJob[Any], column: Column, tunings: Tunings) -> Pixels:
    """(N, H, W, 3), without a word of progress."""
    N, rows = len(column), 1 if tunings else CHUNK
    found = [_submit(job, [column], slice(at, at + rows), tunings)[0] for at in range(0, N, rows)]
    return np.concatenate([to_pixels(job.wait(answer)) for answer in found])
