"""Principal components of a layer's output, and the latents that move along them."""

from collections.abc import Iterator

import torch
from torch import Tensor

from generative.discovery.ganspace import incremental_pca, latent_directions, spread
from generative.editing.direction import Direction
from generative.spaces import Space
from jobs.discovery import GanspaceFeaturesInput
from jobs.errors import JobFailed, LimitExceeded, UnsupportedByModel
from workers.models import LoadedModel
from workers.work.discovery.features import Features
from workers.work.discovery.samples import FOUND, Codes, Job, names_of, samples

STEP = 64  # pictures between two looks at the clock
MAX_BATCH_BYTES = 2**28  # of activations in float64 that one step of the analysis takes


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, GanspaceFeaturesInput)
    try:
        found = incremental_pca(_batches(job, model, wanted), wanted.components)
    except ValueError as error:
        raise JobFailed(str(error)) from error
    latents: list[Tensor] = []
    vectors, _ = latent_directions(
        found, _kept(_pairs(job, model, _fresh(wanted), (FOUND / 2, FOUND)), latents)
    )
    sigmas = spread(torch.cat(latents), vectors)
    space = Space.W if "w" in model.card.spaces else Space.Z
    return [
        Direction(
            name,
            space,
            vectors[i].float(),
            unit="sigma",
            sigma=float(sigmas[i]),
            method="ganspace_features",
            description=f"principal component {i} of {wanted.layer}",
            provenance={"share_of_variance": float(found.share[i])},
        )
        for i, name in enumerate(names_of(wanted.name, len(vectors)))
    ]


def _fresh(wanted: GanspaceFeaturesInput) -> GanspaceFeaturesInput:
    """The same for samples that come after: components are not regressed on those that they were found in."""
    return wanted.model_copy(update={"seed": wanted.seed + wanted.samples})


def _batches(job: Job, model: LoadedModel, wanted: GanspaceFeaturesInput) -> Iterator[Tensor]:
    """(n, numbers of the layer), each as large as memory allows and of at least so many as components."""
    rows: list[Tensor] = []
    for _, activations in _pairs(job, model, wanted, (0, FOUND / 2)):
        rows.append(activations)
        count = sum(map(len, rows))
        room = MAX_BATCH_BYTES // (8 * activations.shape[1])
        if room < wanted.components:
            raise LimitExceeded(
                f"of the {activations.shape[1]} numbers of {wanted.layer} at most {room} components fit into"
                " memory; take fewer, or a coarser layer"
            )
        if count >= wanted.components and count + STEP > min(room, max(2000, 3 * wanted.components)):
            yield torch.cat(rows)
            rows = []
    if rows:
        yield torch.cat(rows)


def _pairs(
    job: Job, model: LoadedModel, wanted: GanspaceFeaturesInput, share: tuple[float, float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents (n, dim), and what the layer puts out for them, (n, numbers)."""
    op, begin = Features((wanted.layer,)), share[0]
    for codes in samples(job, model, wanted, wanted.samples, STEP, 1.0, share[1], begin):
        try:
            activations = job.forward(model, op, codes)[wanted.layer]
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error
        yield _latents(codes), activations.flatten(1)


def _latents(codes: Codes) -> Tensor:
    return codes["ws"][:, 0] if "ws" in codes else codes["z"]


def _kept(pairs: Iterator[tuple[Tensor, Tensor]], latents: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    for pair in pairs:
        latents.append(pair[0])
        yield pair
