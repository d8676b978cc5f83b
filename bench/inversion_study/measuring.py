"""The plan of the study, and its measurements, a batch of portraits at a time."""

from collections.abc import Iterator
from dataclasses import fields
from hashlib import sha256

import torch
from torch import Tensor

from bench.inversion_study.methods import Found, Task, Variant, invert, smiling_samples
from bench.inversion_study.records import Record, Records
from bench.inversion_study.restoration import DAMAGES, restore, shown
from bench.inversion_study.subjects import LIMIT, Model, Portraits, Row, movements, rows, scores
from generative.inversion.degradations import Noise

BATCH = 8  # portraits that are searched for together
SAMPLES = 64  # of the generator, as the reference for edits

LONGER = (("steps", 200), ("learning_rate", 0.2))  # a fifth of the steps of projector
UNMEASURED = {"spaces", "unseen", "needs"}  # what may be asked for, which changes nothing that was measured
PLAN: dict[Variant, int] = {  # how many portraits: fewer where it takes minutes a picture
    Variant("encoder", "w+"): 64,
    Variant("encoder", "w"): 64,
    Variant("hybrid", "w+"): 64,
    Variant("in_domain", "w+"): 64,
    Variant("hybrid", "w"): 64,
    Variant("hybrid", "s"): 64,
    Variant("hybrid", "p+"): 64,
    Variant("hybrid", "w+", LONGER): 64,
    Variant("hybrid", "w", LONGER): 64,
    Variant("hybrid", "features"): 64,
    Variant("pulse", "p+"): 64,
    Variant("projector", "w"): 64,
    Variant("projector", "w+"): 64,
    Variant("stylespace", "s"): 64,
    Variant("pti", "w"): 64,
    Variant("ii2s", "w+"): 64,
    Variant("projector", "features"): 64,
    Variant("projector", "z"): 64,
    Variant("projector", "s"): 64,
    Variant("projector", "p+"): 64,
    Variant("projector", "p"): 64,
    Variant("ii2s", "w"): 64,
    Variant("pti", "w+"): 64,
    Variant("image2stylegan", "w+"): 8,
    Variant("multi_code", "w"): 8,
}
RESTORERS: dict[Variant, int] = {
    Variant("encoder", "w+"): 32,
    Variant("hybrid", "w+"): 16,
    Variant("hybrid", "w"): 16,
    Variant("in_domain", "w+"): 16,
}
DENOISERS: dict[Variant, int] = {  # the perceptual distance takes noise for something to paint
    Variant("hybrid", "w+", (("perceptual", 0.0),)): 16,
    Variant("hybrid", "w", (("perceptual", 0.0),)): 16,
}


def restorers(damage: str) -> dict[Variant, int]:
    """And how many portraits each restores."""
    return RESTORERS | DENOISERS if isinstance(DAMAGES[damage].degradation, Noise) else RESTORERS


def name(model: Model, variant: Variant, damage: str = "inversion") -> str:
    """Of the records: those of other constants, or of another encoder, have another name."""
    defaults = variant.defaults
    kept = [f for f in fields(defaults) if f.name not in UNMEASURED]
    constants = [(f.name, getattr(defaults, f.name), f.default) for f in kept]
    said = {name: value for name, value, unsaid in constants if value != unsaid}
    made_by = f"{said} {model.encoder_digest if variant.needs_encoder else None}"
    return f"{damage.replace(' ', '_')}/{variant.name}@{sha256(made_by.encode()).hexdigest()[:8]}"


def plan(limit: int) -> Iterator[tuple[int, Variant, str | None]]:
    """Number of the first portrait, variant, and damage if there is any, the first portraits of all first."""
    for first in range(0, limit, BATCH):
        yield from ((first, variant, None) for variant, count in PLAN.items() if first < count)
        for damage in DAMAGES:
            yield from ((first, v, damage) for v, count in restorers(damage).items() if first < count)


def measure(model: Model, records: Records, first: int, variant: Variant, damage: str | None) -> bool:
    """One batch, unless it was measured before or cannot be -> whether it was measured now."""
    what = name(model, variant, damage or "inversion")
    if records.has(what, first) or (variant.needs_encoder and model.encode is None):
        return False
    truth = Portraits.draw(first, BATCH, model.generator.img_resolution)
    if damage is None:
        _inverted(model, records, first, variant, truth)
    else:
        _restored(model, records, first, variant, truth, damage)
    return True


def _inverted(model: Model, records: Records, first: int, variant: Variant, truth: Portraits) -> None:
    found = invert(Task(model, truth.images), variant)
    scored, images = scores(model, truth, found.images), {"found": found.images}
    if found.smiling is not None:
        moved = rows(movements(model, found.images, found.smiling))
        scored = [score | move for score, move in zip(scored, moved, strict=True)]
        images["smiling"] = found.smiling
    record = Record(_with_costs(scored, found), found.curves)
    records.put(name(model, variant), first, record, images)


def _restored(
    model: Model, records: Records, first: int, variant: Variant, truth: Portraits, damage: str
) -> None:
    what, size = DAMAGES[damage], model.generator.img_resolution
    constants = what.constants(first, len(truth.images), size)
    observed = what.observe(truth.images, constants)
    found = restore(model, what, variant, observed, constants)
    record = Record(_with_costs(scores(model, truth, found.images), found))
    records.put(name(model, variant, damage), first, record, {"found": found.images})


def measure_references(model: Model, records: Records) -> None:
    """Without any search: the portraits themselves, the mean face, classical restoration, edited samples."""
    size = model.generator.img_resolution
    for first in range(0, LIMIT, BATCH):
        if records.has("reference/truth", first):
            continue
        truth = Portraits.draw(first, BATCH, size)
        _put(model, records, "reference/mean", first, truth, _mean_face(model).expand_as(truth.images))
        for damage, what in DAMAGES.items():
            constants = what.constants(first, BATCH, size)
            observed = what.observe(truth.images, constants)
            seen = f"{damage.replace(' ', '_')}/observed"
            _put(model, records, seen, first, truth, shown(observed, size))
            for remedy, restored in what.baselines.items():
                where = f"{damage.replace(' ', '_')}/{remedy.replace(' ', '_')}"
                _put(model, records, where, first, truth, restored(observed, constants))
        _put(model, records, "reference/truth", first, truth, truth.images)
    if not records.has("reference/samples", 0):
        before, after = smiling_samples(model, SAMPLES)
        moved = Record(rows(movements(model, before, after)))
        records.put("reference/samples", 0, moved, {"found": before[:8], "smiling": after[:8]})


def _put(model: Model, records: Records, what: str, first: int, truth: Portraits, images: Tensor) -> None:
    records.put(what, first, Record(scores(model, truth, images)), {"found": images})


@torch.no_grad()
def _mean_face(model: Model) -> Tensor:
    G = model.generator
    return G.synthesize(G.w_avg.expand(1, G.num_ws, -1)).cpu()


def _with_costs(scored: list[Row], found: Found) -> list[Row]:
    return [s | {"evaluations": float(found.evaluations), "seconds": found.seconds} for s in scored]
