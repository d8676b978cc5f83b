"""A generator examined: draw samples, look at them and at the reference, and compare.

Beside the samples stand two controls in the same features, where the reference is rendered: other renders of
the same world (the floor: what a perfect generator would score) and those renders with 5 % noise (what a
flaw that everybody sees would score). All three are compared with one reference set, which shares no picture
with them. Only features are kept, never pictures.

The same examiner, plan and reference give the same numbers, wherever operations run in equal batches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.metrics import examiner as ops
from generative.metrics.changes import Edit, mixed, turn, turned, turned_renders
from generative.metrics.examiner import Examiner, Op, Run
from generative.metrics.factor_distance import FactorDistance, FactorKind, factor_distances
from generative.metrics.frechet import frechet_distance
from generative.metrics.identity import IDENTITY, identity
from generative.metrics.kernel import kernel_distance
from generative.metrics.path_length import trimmed_mean
from generative.metrics.pictures import PictureSet, Renders, noisy, rendered
from generative.metrics.precision_recall import nearest, precision_recall
from generative.metrics.report import IdentityScore, Report, Scores, factor_scores, identity_score, scores
from generative.spaces import broadcast, sample_z

Metric = Literal["fid", "kid", "pr", "ppl", "factors", "identity"]
METRICS: tuple[Metric, ...] = ("fid", "kid", "pr", "ppl", "factors", "identity")
CHUNK = 32  # pictures between two calls of the callback
PEOPLE = 1000  # at most, whose identity is followed through a change
SHEET_ROWS, SHEET_NEAREST = 8, 3


@dataclass(frozen=True)
class Plan:
    """What is measured. Samples are drawn from the seeds `seed`, `seed + 1`, ..., one for each picture."""

    metrics: tuple[Metric, ...]
    count: int
    seed: int = 0
    psi: float = 1.0
    class_index: int | None = None  # None for a conditional model: classes at random
    path_space: Literal["w", "z"] = "w"
    path_sampling: Literal["full", "end"] = "full"
    neighbours: int = 3
    edits: tuple[Edit, ...] = ()  # for identity


@dataclass(frozen=True)
class Seen:
    """What the metrics need to know of N pictures."""

    features: Tensor  # (N, D)
    readings: Mapping[str, Tensor] = field(default_factory=dict)  # (N,) by factor


@dataclass(frozen=True)
class Evaluation:
    report: Report
    sheet: Tensor | None  # (rows, 1 + k, H, W, 3) uint8: samples, each with the nearest of the reference


class Callback:
    """Turns work done into a share of all work. One picture that is rendered counts as five looked at."""

    RENDER = 5

    def __init__(self, tell: Callable[[float, str], None], total: int) -> None:
        self._tell, self._total, self._done = tell, max(1, total), 0

    def __call__(self, units: int, message: str) -> None:
        self._done += units
        self._tell(min(1.0, self._done / self._total), message)


def evaluate(
    examiner: Examiner,
    plan: Plan,
    reference: PictureSet,
    run: Run,
    tell: Callable[[float, str], None] = lambda share, message: None,
) -> Evaluation:
    """Measure all that `plan` says.

    Args:
        reference: at least 2 pictures, more than `plan.neighbours` for precision and recall.
        run: carries out an operation, on the device; see `examiner.plain_run`.
        tell: hears of progress, a share in [0, 1] and a word; raise from it to stop.

    Raises:
        ValueError: for what cannot be measured: too few pictures, factors without a network that reads them.
    """
    if {"factors", "identity"} & set(plan.metrics) and examiner.reader is None:
        raise ValueError("factors need a network that reads them")
    return _Course(examiner, plan, reference, run, tell).evaluation()


class _Course:
    """One evaluation. What several metrics need is computed once."""

    def __init__(
        self,
        examiner: Examiner,
        plan: Plan,
        reference: PictureSet,
        run: Run,
        tell: Callable[[float, str], None],
    ) -> None:
        self.examiner, self.plan, self.reference, self.run = examiner, plan, reference, run
        self.rendered = reference if isinstance(reference, Renders) else None
        self.callback = Callback(tell, self._work())

    def evaluation(self) -> Evaluation:
        compared = self._wants("fid", "kid", "pr", "factors")
        sets, distances = self._compared() if compared else ((), {})
        report = Report(
            extractor=self.examiner.extractor.name,
            dimensions=self.samples.features.shape[1] if compared else None,
            count=self.plan.count,
            reference=self._about_reference() if compared else None,
            psi=self.plan.psi,
            seed=self.plan.seed,
            sets=sets,
            ppl=self._path_length() if self._wants("ppl") else None,
            factors=factor_scores(distances.get("samples", ()), distances.get("renders", ())),
            identity=self._identity() if self._wants("identity") else (),
        )
        return Evaluation(report, self._sheet() if compared else None)

    def _about_reference(self) -> dict[str, str | int]:
        return {"kind": "renders" if self.rendered else "pictures", "count": len(self.reference)}

    # --- what is looked at -------------------------------------------------------------------------------

    @cached_property
    def ws(self) -> Tensor:
        """(N, L, w_dim) of the samples; a view, for all layers have the same w."""
        parts = []
        classes = self._classes(self.plan.count, 0)
        for rows in self._rows(self.plan.count, 1000):
            z = sample_z([self.plan.seed + row for row in rows], self.examiner.generator.z_dim)
            inputs = {"z": z, "psi": torch.full((len(z),), self.plan.psi)}
            inputs |= {name: x[rows.start : rows.stop] for name, x in classes.items()}
            parts.append(self.run(ops.map_z, inputs)["w"])
            self.callback(0, "samples")
        return broadcast(torch.cat(parts), self.examiner.generator.num_ws)

    @cached_property
    def samples(self) -> Seen:
        return self.look_at_ws(self.ws, "samples")

    @cached_property
    def seen_reference(self) -> Seen:
        parts = [
            self._look(self.reference.pictures(rows), "reference") for rows in self._rows(len(self.reference))
        ]
        return _joined(parts)

    def look_at_ws(self, ws: Tensor, message: str) -> Seen:
        return _joined([self._seen(ops.look_at_ws, "ws", chunk, message, 1) for chunk in ws.split(CHUNK)])

    def _look(self, pictures: Tensor, message: str) -> Seen:
        cost = Callback.RENDER if self.rendered else 1
        return self._seen(ops.look_at_pictures, "pictures", pictures, message, cost)

    def _seen(self, op: Op, name: str, chunk: Tensor, message: str, cost: int) -> Seen:
        found = self.run(op, {name: chunk})
        self.callback(cost * len(chunk), message)
        reader = self.examiner.reader
        return Seen(found["features"], reader.decode(found["readings"]) if reader is not None else {})

    def _controls(self, rendered: Renders) -> tuple[Seen, Seen]:
        """Other renders, and the same with noise."""
        others = Renders(self.plan.count, rendered.size, rendered.seed, draw=1)
        clean, noised = [], []
        for rows in self._rows(len(others)):
            pictures = others.pictures(rows)
            clean.append(self._look(pictures, "renders"))
            noised.append(self._seen(
                ops.look_at_pictures, "pictures", noisy(pictures, rows, rendered.seed), "noisy renders", 1
            ))  # fmt: skip
        return _joined(clean), _joined(noised)

    # --- what is measured --------------------------------------------------------------------------------

    def _compared(self) -> tuple[tuple[Scores, ...], dict[str, Sequence[FactorDistance]]]:
        """Scores of the samples and of the controls, and the factor distances by name of the set."""
        sets = {"samples": self.samples}
        if self.rendered is not None:
            sets["renders"], sets["renders with 5 % noise"] = self._controls(self.rendered)
        distances = {name: self._factors(seen) for name, seen in sets.items()}
        rows = tuple(self._scores(name, seen, distances[name]) for name, seen in sets.items())
        return rows, distances

    def _scores(self, name: str, seen: Seen, factors: Sequence[FactorDistance]) -> Scores:
        def alive() -> None:
            self.callback(0, f"comparing {name}")

        alive()
        real, fake, kernel, shares = self.seen_reference.features, seen.features, None, None
        fid = frechet_distance(fake, real) if self._wants("fid") else None
        if self._wants("kid"):
            rng = torch.Generator().manual_seed(self.plan.seed)
            found = kernel_distance(fake, real, rng, callback=alive)
            kernel = found.mean, found.std
        if self._wants("pr"):
            shares = precision_recall(real, fake, self.plan.neighbours, alive)
        return scores(name, fid, kernel, shares, factors)

    def _factors(self, seen: Seen) -> Sequence[FactorDistance]:
        if not self._wants("factors"):
            return ()
        return factor_distances(self.seen_reference.readings, seen.readings, self.kinds)

    @property
    def kinds(self) -> dict[str, FactorKind]:
        """Of every factor that the reader names."""
        reader = self.examiner.reader
        assert reader is not None
        return {c.readout.name: c.readout.kind for c in reader.columns}

    def _path_length(self) -> dict[str, float | str | int]:
        N, plan = self.plan.count, self.plan
        rng = np.random.default_rng([plan.seed, 2])
        a, b = (
            torch.from_numpy(rng.standard_normal((N, self.examiner.generator.z_dim), np.float32))
            for _ in "ab"
        )
        t = torch.from_numpy(rng.random(N, np.float32)) * (plan.path_sampling == "full")
        inputs = {"a": a, "b": b, "t": t} | self._classes(N, 3)
        op, lengths = ops.step_in_w if plan.path_space == "w" else ops.step_in_z, []
        for rows in self._rows(N):
            lengths.append(
                self.run(op, {name: x[rows.start : rows.stop] for name, x in inputs.items()})["lengths"]
            )
            self.callback(2 * len(rows), "path length")
        return {
            "length": trimmed_mean(torch.cat(lengths)),
            "space": plan.path_space,
            "sampling": plan.path_sampling,
            "pairs": N,
        }

    def _identity(self) -> tuple[IdentityScore, ...]:
        """After a turn of the head and that of renders, the floor; a change of fine styles; and edits."""
        ws = self.ws[: min(PEOPLE, self.plan.count)]
        before = self.look_at_ws(ws, "identity").readings
        yaw = before["yaw"]
        after = self.look_at_ws(turned(ws, yaw), "identity").readings
        moved = ((after["yaw"] - yaw) / turn(yaw)).mean().item()
        other = self.look_at_ws(mixed(ws), "identity").readings
        kinds = {name: kind for name, kind in self.kinds.items() if name in IDENTITY}
        found = [
            identity_score("turned head", identity(before, after, kinds), moved),
            identity_score("fine styles of another", identity(before, other, kinds)),
        ]
        if self.rendered is not None:
            people = self.rendered.factors[: len(ws)]
            one, two = (self._look_at_factors(f) for f in (people, turned_renders(people)))
            found.append(identity_score("turned head of renders", identity(one, two, kinds), 1.0))
        return (*found, *(self._along(edit, ws, before) for edit in self.plan.edits))

    def _along(self, edit: Edit, ws: Tensor, before: Mapping[str, Tensor]) -> IdentityScore:
        """What an edit does to everything but the factor that it is named after."""
        after = self.look_at_ws(edit(ws), "identity").readings
        target, moved = edit.direction.name, None
        if target in before:
            moved = ((after[target] - before[target]).mean() / before[target].std(correction=0)).item()
        kinds = {n: kind for n, kind in self.kinds.items() if n in IDENTITY and n != target}
        return identity_score(edit.name, identity(before, after, kinds), moved)

    def _look_at_factors(self, factors: Tensor) -> Mapping[str, Tensor]:
        """(N, F) -> what is read from renders of them."""
        assert self.rendered is not None
        size = self.rendered.size
        return _joined([self._look(rendered(f, size), "identity") for f in factors.split(CHUNK)]).readings

    def _sheet(self) -> Tensor:
        """The first samples, each with its nearest pictures of the reference."""
        rows = min(SHEET_ROWS, self.plan.count)
        near = nearest(self.samples.features[:rows], self.seen_reference.features, SHEET_NEAREST)
        found = self.reference.pictures(near.flatten().tolist())
        own = self.run(ops.paint_ws, {"ws": self.ws[:rows]})["pictures"].expand(-1, -1, -1, 3)
        return torch.cat([own[:, None], found.reshape(rows, -1, *found.shape[1:])], dim=1)

    # --- small things ------------------------------------------------------------------------------------

    def _wants(self, *metrics: Metric) -> bool:
        return any(metric in self.plan.metrics for metric in metrics)

    def _classes(self, N: int, stream: int) -> dict[str, Tensor]:
        """One-hot `c` for a conditional model, else nothing."""
        classes = self.examiner.generator.c_dim
        if not classes:
            return {}
        rng = np.random.default_rng([self.plan.seed, 4 + stream])
        drawn = (
            rng.integers(classes, size=N) if self.plan.class_index is None else [self.plan.class_index] * N
        )
        return {"c": F.one_hot(torch.as_tensor(drawn), classes).float()}

    def _rows(self, N: int, some: int = CHUNK) -> Iterator[range]:
        for start in range(0, N, some):
            yield range(start, min(start + some, N))

    def _work(self) -> int:
        """In units of the callback, about."""
        N, units = self.plan.count, 0
        if self._wants("fid", "kid", "pr", "factors"):
            units += N + len(self.reference) * (Callback.RENDER if self.rendered else 1)
            units += (Callback.RENDER + 1) * N if self.rendered else 0
        people = min(PEOPLE, N) * (3 + len(self.plan.edits) + (2 * Callback.RENDER if self.rendered else 0))
        return units + (2 * N if self._wants("ppl") else 0) + (people if self._wants("identity") else 0)


def _joined(parts: Sequence[Seen]) -> Seen:
    readings = {name: torch.cat([part.readings[name] for part in parts]) for name in parts[0].readings}
    return Seen(torch.cat([part.features for part in parts]), readings)
