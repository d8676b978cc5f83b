"""A generator examined: draw samples, look at them and at the reference, and compare.

Beside the samples stand two controls in the same features, where the reference is rendered: other renders of
the same world (the floor: what a perfect generator would score) and those renders with 5 % noise (what a
flaw that everybody sees would score). All three are compared with one reference set, which shares no picture
with them.

The same examiner, plan and reference give the same numbers, wherever operations run in equal batches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from generative.generator import StyleGenerator
from generative.metrics import examiner as ops
from generative.metrics.changes import Edit, mixed, turn, turned, turned_renders
from generative.metrics.examiner import Examiner, Run
from generative.metrics.factor_distance import FactorDistance, FactorKind, factor_distances
from generative.metrics.frechet import frechet_distance
from generative.metrics.identity import IDENTITY, identity
from generative.metrics.kernel import kernel_distance
from generative.metrics.latents import Draw, rows_of
from generative.metrics.looking import RENDER, Meter, Seen, Tell, Viewer, chunks
from generative.metrics.path_length import trimmed_mean
from generative.metrics.pictures import PictureSet, Renders
from generative.metrics.precision_recall import nearest, precision_recall
from generative.metrics.report import IdentityScore, Report, Scores, factor_scores, identity_score, scores

Metric = Literal["fid", "kid", "pr", "ppl", "factors", "identity"]
METRICS: tuple[Metric, ...] = ("fid", "kid", "pr", "ppl", "factors", "identity")
COMPARING = {"fid", "kid", "pr", "factors"}  # those that need the reference
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
class Evaluation:
    report: Report
    sheet: Tensor | None  # (rows, 1 + k, H, W, 3) uint8: samples, each with the nearest of the reference


def evaluate(
    examiner: Examiner,
    plan: Plan,
    reference: PictureSet,
    run: Run,
    tell: Tell = lambda share, message: None,
) -> Evaluation:
    """Measure all that `plan` says.

    Args:
        reference: at least 4 pictures, and more than `plan.neighbours`.
        run: carries out an operation, on the device; see `examiner.plain_run`.
        tell: hears of progress, a share in [0, 1] and a word; raise from it to stop.

    Raises:
        ValueError: for what cannot be measured: too few pictures, factors without a network that reads them.
    """
    if {"factors", "identity"} & set(plan.metrics) and examiner.reader is None:
        raise ValueError("factors need a network that reads them")
    if not isinstance(examiner.generator, StyleGenerator) and "identity" in plan.metrics:
        raise ValueError("identity is followed through changes in W, which this generator lacks")
    course = _Course(examiner, plan, reference, run, Meter(tell, _work(plan, reference)))
    return Evaluation(course.report(), course.sheet() if COMPARING & set(plan.metrics) else None)


def _work(plan: Plan, reference: PictureSet) -> int:
    """In units of the meter, about."""
    N, rendered, units = plan.count, isinstance(reference, Renders), 0
    if COMPARING & set(plan.metrics):
        units += N + len(reference) * (RENDER if rendered else 1) + (N * (RENDER + 1) if rendered else 0)
    if "ppl" in plan.metrics:
        units += 2 * N
    if "identity" in plan.metrics:
        units += min(PEOPLE, N) * (3 + len(plan.edits) + (2 * RENDER if rendered else 0))
    return units


class _Course:
    """One evaluation. What several metrics need is computed once."""

    def __init__(self, examiner: Examiner, plan: Plan, reference: PictureSet, run: Run, meter: Meter) -> None:
        self.examiner, self.plan, self.reference, self.run, self.meter = examiner, plan, reference, run, meter
        self.rendered = reference if isinstance(reference, Renders) else None
        self.viewer = Viewer(examiner, run, meter)
        self.paint = ops.Paint(1.0 if examiner.generator.psi_acts_on == "none" else plan.psi)
        self.draw = Draw(examiner.generator, plan.count, plan.seed, plan.class_index)

    @cached_property
    def codes(self) -> dict[str, Tensor]:
        return self.draw.codes(self.plan.psi, self.run, self.meter)

    @cached_property
    def samples(self) -> Seen:
        return self.viewer.samples(self.codes, self.paint)

    @cached_property
    def real(self) -> Seen:
        return self.viewer.pictures(self.reference)

    @cached_property
    def kinds(self) -> dict[str, FactorKind]:
        """Of every factor that the reader names."""
        assert self.examiner.reader is not None
        return {c.readout.name: c.readout.kind for c in self.examiner.reader.columns}

    def report(self) -> Report:
        plan, compared = self.plan, bool(COMPARING & set(self.plan.metrics))
        sets = self._sets() if compared else {}
        distances = {name: self._factors(seen) for name, seen in sets.items()}
        about = {"kind": "renders" if self.rendered else "pictures", "count": len(self.reference)}
        return Report(
            extractor=self.examiner.extractor.name,
            dimensions=self.samples.features.shape[1] if compared else None,
            count=plan.count,
            reference=about if compared else None,
            psi=plan.psi,
            seed=plan.seed,
            sets=tuple(self._scores(name, seen, distances[name]) for name, seen in sets.items()),
            ppl=self._path_length() if "ppl" in plan.metrics else None,
            factors=factor_scores(distances.get("samples", []), distances.get("renders", [])),
            identity=self._identity() if "identity" in plan.metrics else (),
        )

    def sheet(self) -> Tensor:
        """The first samples, each with its nearest pictures of the reference."""
        rows = min(SHEET_ROWS, self.plan.count)
        near = nearest(self.samples.features[:rows], self.real.features, SHEET_NEAREST)
        found = self.reference.pictures(near.flatten().tolist())
        own = self.run(self.paint, rows_of(self.codes, range(rows)))["pictures"].expand(-1, -1, -1, 3)
        return torch.cat([own[:, None], found.reshape(rows, -1, *found.shape[1:])], dim=1)

    # --- distances from the reference --------------------------------------------------------------------

    def _sets(self) -> dict[str, Seen]:
        """The samples and, where the reference is rendered, the controls."""
        sets = {"samples": self.samples}
        if self.rendered is not None:
            others = Renders(self.plan.count, self.rendered.size, self.rendered.seed, draw=1)
            sets["renders"], sets["renders with 5 % noise"] = self.viewer.clean_and_noisy(others)
        return sets

    def _scores(self, name: str, seen: Seen, factors: list[FactorDistance]) -> Scores:
        def alive() -> None:
            self.meter(0, f"comparing {name}")

        real, fake, metrics = self.real.features, seen.features, self.plan.metrics
        alive()
        fid = frechet_distance(fake, real) if "fid" in metrics else None
        rng = torch.Generator().manual_seed(self.plan.seed)
        kernel = kernel_distance(fake, real, rng, callback=alive) if "kid" in metrics else None
        shares = precision_recall(real, fake, self.plan.neighbours, alive) if "pr" in metrics else None
        return scores(name, fid, kernel, shares, factors)

    def _factors(self, seen: Seen) -> list[FactorDistance]:
        if "factors" not in self.plan.metrics:
            return []
        return factor_distances(self.real.readings, seen.readings, self.kinds)

    # --- paths and people --------------------------------------------------------------------------------

    def _path_length(self) -> dict[str, Any]:
        plan = self.plan
        op, lengths = ops.step_in_w if plan.path_space == "w" else ops.step_in_z, []
        inputs = self.draw.paths(plan.path_sampling == "full")
        for rows in chunks(plan.count):
            lengths.append(self.run(op, rows_of(inputs, rows))["lengths"])
            self.meter(2 * len(rows), "path length")
        length = trimmed_mean(torch.cat(lengths))
        return {"length": length, "space": plan.path_space, "sampling": plan.path_sampling}

    def _identity(self) -> tuple[IdentityScore, ...]:
        """After a turn of the head and that of renders, the floor; a change of fine styles; and edits."""
        ws = self.codes["ws"][:PEOPLE]
        before = self._read(ws)
        yaw = before["yaw"]
        after = self._read(turned(ws, yaw))
        moved = ((after["yaw"] - yaw) / turn(yaw)).mean().item()
        found = [self._kept("turned head", before, after, moved)]
        if self.rendered is not None:
            people, size = self.rendered.factors[:PEOPLE], self.rendered.size
            one, two = (self.viewer.renders(f, size, "identity") for f in (people, turned_renders(people)))
            found.append(self._kept("turned head of renders", one.readings, two.readings, 1.0))
        found.append(self._kept("fine styles of another", before, self._read(mixed(ws))))
        return (*found, *(self._along(edit, ws, before) for edit in self.plan.edits))

    def _along(self, edit: Edit, ws: Tensor, before: Mapping[str, Tensor]) -> IdentityScore:
        """What an edit does to everything but the factor that it is named after."""
        after, target, moved = self._read(edit(ws)), edit.direction.name, None
        if target in before:
            moved = ((after[target] - before[target]).mean() / before[target].std(correction=0)).item()
        return self._kept(edit.name, before, after, moved, but=target)

    def _kept(
        self,
        change: str,
        before: Mapping[str, Tensor],
        after: Mapping[str, Tensor],
        moved: float | None = None,
        but: str = "",
    ) -> IdentityScore:
        kinds = {name: kind for name, kind in self.kinds.items() if name in IDENTITY and name != but}
        return identity_score(change, identity(before, after, kinds), moved)

    def _read(self, ws: Tensor) -> Mapping[str, Tensor]:
        return self.viewer.samples({"ws": ws}, self.paint, "identity").readings
