"""Samples that methods learn from: codes, and how much of a factor is seen in their pictures."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from generative.networks.feature_network import Readout
from generative.statistics import WStatistics
from jobs.discovery import Discovery, PicturesInput
from jobs.errors import UnsupportedByModel
from jobs.schemas import DirectionsRequest
from workers.job import RunningJob
from workers.models import LoadedModel
from workers.work.direction_notes import look, trusted
from workers.work.sources import Truncation, class_number, from_seeds, paintable

Job = RunningJob[DirectionsRequest]
FOUND = 0.5  # of the progress; the rest is measuring
PAINTED = 256  # samples between two looks at the clock
Codes = dict[str, Tensor]


def names_of(name: str, count: int) -> list[str]:
    """What the members of a set are called."""
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def statistics_of(model: LoadedModel) -> WStatistics:
    assert model.statistics is not None  # every family with a W has them
    return model.statistics


def truncation_for(model: LoadedModel, wanted: Discovery, psi: float = 1.0) -> Truncation:
    """Of the class that is asked for."""
    return Truncation(psi, class_index=class_number(model.card, wanted.class_index))


def samples(
    job: Job,
    model: LoadedModel,
    wanted: Discovery,
    count: int,
    step: int,
    psi: float,
    share: float = FOUND,
    begin: float = 0.0,
) -> Iterator[Codes]:
    """So many samples in pieces, as `painting.Paint` takes them: `ws` (n, L, w_dim), or what begins in z.

    Progress goes from `begin` to `share`.
    """
    seed, truncation = wanted.seed, truncation_for(model, wanted, psi)
    for first in range(0, count, step):
        seeds = range(seed + first, seed + min(first + step, count))
        yield paintable(job, model, from_seeds(seeds, model.generator), truncation)
        done = first + len(seeds)
        job.reporter.report(begin + (share - begin) * done / count, done, count, message="sampling")


def scored(
    job: Job,
    model: LoadedModel,
    wanted: PicturesInput,
    factors: Sequence[str],
    keep: Callable[[Codes], Tensor],
    share: float = FOUND,
) -> tuple[dict[str, Tensor], Tensor]:
    """Of all samples: how much of each factor is seen in them, (N,), and what `keep` makes of their codes."""
    for name in factors:
        refuse_factor(model, name)
    scores: dict[str, list[Tensor]] = {name: [] for name in factors}
    kept = []
    for codes in samples(job, model, wanted, wanted.samples, PAINTED, wanted.psi, share):
        seen = look(job, model, codes)
        for name in factors:
            scores[name].append(seen.readings[name])
        kept.append(keep(codes))
    return {name: torch.cat(parts) for name, parts in scores.items()}, torch.cat(kept)


def one_w(codes: Codes) -> Tensor:
    """(n, w_dim), of samples whose layers agree."""
    return codes["ws"][:, 0]


def refuse_factor(model: LoadedModel, name: str) -> Readout:
    """The read-out of a factor. Raises UnsupportedByModel for one that is not read, or is a category."""
    known = {readout.name: readout for readout in trusted(model)}
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise UnsupportedByModel(f"no factor {name!r} is read from the model's pictures; known: {listed}")
    if known[name].kind == "categorical":
        raise UnsupportedByModel(f"{name} is one of several categories: it has no more and no less")
    return known[name]
