"""A linear support vector machine: the hyperplane with the widest soft margin between two sets of points.

Sequential minimal optimisation with second-order working sets (Fan, Chen & Lin, "Working Set Selection Using
Second Order Information for Training Support Vector Machines", 2005) and the shrinking of "LIBSVM: a library
for support vector machines" (Chang & Lin, 2011). It takes the same steps as libsvm behind scikit-learn's
`SVC(kernel="linear")`: libsvm stops well before the optimum (its tolerance moves a normal by about 1e-3), so
only its own path leads to its own boundary. Of that path are: the negative rows first, the last of several
equal candidates, and inner products rounded to float32.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COST = 1.0  # of a point that is one margin on the wrong side; libsvm's C
TOLERANCE = 1e-3  # of the optimality condition
MAX_ROWS = 20_000  # their inner products take 1.6 GB
MAX_NUMBER = 1e15  # products of rows must fit float32
MAX_STEPS = 10_000_000
_BLOCK = 1000  # rows of Q in float64 at a time
_FLAT = 1e-12  # curvature where there is none

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hyperplane:
    """The points with `rows @ normal + intercept == 0`. The normal is not of unit length."""

    normal: Tensor  # (dim,) float64
    intercept: float

    def decide(self, rows: Tensor) -> Tensor:
        """(N, dim) -> (N,) bool: is it on the positive side?"""
        return rows.double() @ self.normal.to(rows.device) + self.intercept > 0


def linear_svm(rows: Tensor, positive: Tensor) -> Hyperplane:
    """Separate rows (N, dim) by `positive`, (N,) bool. The search is on the CPU.

    Raises:
        ValueError: if one side is empty, there are too many rows, numbers in them are not finite or too
            large, or the search does not end.
    """
    if not 0 < int(positive.sum()) < len(rows) or len(rows) > MAX_ROWS:
        raise ValueError(f"a boundary needs rows on both sides, and at most {MAX_ROWS} in all")
    order = torch.argsort(positive.to(torch.uint8), stable=True).cpu()  # libsvm's first class counts as +1
    points = rows.detach().cpu().double()[order].numpy()
    if not (np.abs(points) < MAX_NUMBER).all():
        raise ValueError("numbers that are not finite, or too large to find a boundary between")
    signs = np.where(positive.cpu()[order].numpy(), -1.0, 1.0)
    search = _Search(points, signs)
    search.run()
    normal = (search.alpha * signs) @ points
    return Hyperplane(torch.from_numpy(-normal), search.offset())


class _Search:
    """The dual problem: min ½ αᵀQα - Σα over 0 <= α <= COST with Σ sign·α = 0, where Q is the inner products
    of the points, times their signs.
    """

    def __init__(self, points: Array, signs: Array) -> None:
        count = len(signs)
        self.signs = signs
        self.curvature = np.square(points).sum(axis=1)
        self.Q = np.empty((count, count), np.float32)
        for start in range(0, count, _BLOCK):
            part = slice(start, start + _BLOCK)
            self.Q[part] = (points[part] @ points.T) * signs[part, None] * signs
        self.alpha = np.zeros(count)
        self.gradient = -np.ones(count)
        self.active = np.ones(count, bool)  # not shrunk away
        self.restored = False  # shrunk variables come back once before the end

    def run(self) -> None:
        every = min(len(self.signs), 1000)
        countdown = every
        for _ in range(MAX_STEPS):
            if countdown == 0:
                countdown = every
                self._shrink()
            pair = self._select()
            if pair is None and self.active.all():
                return
            if pair is None:
                self._restore()
                if (pair := self._select()) is None:
                    return
                countdown = 1
            countdown -= 1
            self._step(*pair)
        raise ValueError("the search for a boundary does not end: the rows have very different lengths")

    def offset(self) -> float:
        """Of the plane: the mean over the points on the margin, or else the middle of its range."""
        slopes = self.signs * self.gradient
        free = (self.alpha > 0) & (self.alpha < COST)
        if free.any():
            return float(slopes[free].mean())
        up, low = self._bounds()
        return float((slopes[up].min() + slopes[low].max()) / 2)

    def _bounds(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which variables may move along their sign, and which against it."""
        below, above = self.alpha < COST, self.alpha > 0
        plus = self.signs > 0
        return np.where(plus, below, above), np.where(plus, above, below)

    def _descents(self) -> tuple[Array, Array]:
        """What a move along the sign gains, where it is possible; what a move against it loses."""
        up, low = self._bounds()
        gain = -self.signs * self.gradient
        return (
            np.where(up & self.active, gain, -np.inf),
            np.where(low & self.active, gain, np.inf),
        )

    def _select(self) -> tuple[int, int, float] | None:
        """The pair to move and by how much at most gains most; None where the tolerance is met."""
        along, against = self._descents()
        i = _last(along.max(), along)
        if not along[i] - against.min() >= TOLERANCE:
            return None
        gap = along[i] - against
        slope = self.curvature[i] + self.curvature - 2 * self.signs[i] * self.signs * self.Q[i]
        slope[slope <= 0] = _FLAT
        value = np.where(gap > 0, -(gap * gap) / slope, np.inf)
        value[np.isinf(against)] = np.inf
        j = _last(value.min(), value)
        return i, j, float(gap[j] / slope[j])

    def _step(self, i: int, j: int, length: float) -> None:
        """Move α_i along its sign and α_j against it, no further than their bounds."""
        before = self.alpha[i], self.alpha[j]
        ends = (COST if self.signs[i] > 0 else 0.0), (0.0 if self.signs[j] > 0 else COST)
        rooms = abs(ends[0] - before[0]), abs(ends[1] - before[1])
        length = min(length, *rooms)
        self.alpha[i] = ends[0] if length == rooms[0] else before[0] + self.signs[i] * length
        self.alpha[j] = ends[1] if length == rooms[1] else before[1] - self.signs[j] * length
        change = self.Q[i] * (self.alpha[i] - before[0]) + self.Q[j] * (self.alpha[j] - before[1])
        self.gradient += self.active * change

    def _shrink(self) -> None:
        """Leave out variables that sit at a bound and would not leave it now."""
        along, against = self._descents()
        highest, lowest = along.max(), against.min()
        if not self.restored and highest - lowest <= 10 * TOLERANCE:
            self.restored = True
            self._restore()
        up, low = self._bounds()
        gain = -self.signs * self.gradient
        self.active &= ~((low & ~up & (gain > highest)) | (up & ~low & (gain < lowest)))

    def _restore(self) -> None:
        left_out = np.flatnonzero(~self.active)
        for start in range(0, len(left_out), _BLOCK):
            rows = left_out[start : start + _BLOCK]
            self.gradient[rows] = self.Q[rows].astype(np.float64) @ self.alpha - 1
        self.active[:] = True


def _last(value: float, among: Array) -> int:
    """The last index of a value."""
    return int(np.flatnonzero(among == value)[-1])
