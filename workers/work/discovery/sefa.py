"""Eigenvectors of the style weights."""

from generative.discovery.sefa import (
    modulation_weights,
    rosinality_directions,
    sefa_directions,
    style_weights,
)
from generative.editing.direction import Direction
from generative.editing.layers import format_layers
from generative.spaces import Space
from jobs.discovery import SefaInput
from workers.latents import layers_of
from workers.models import LoadedModel
from workers.work.discovery.samples import Job, names_of, statistics_of
from workers.work.sources import with_w

_VARIANTS = {
    "sefa": (style_weights, sefa_directions),
    "sefa_rosinality": (modulation_weights, rosinality_directions),
}


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, SefaInput)
    layers = layers_of(wanted.layers, generator.num_ws) if wanted.layers else tuple(range(generator.num_ws))
    choose, factorise = _VARIANTS[wanted.method]
    weights = [weight.cpu() for weight in choose(generator, layers)]
    vectors, values = factorise(weights, min(wanted.count, generator.w_dim))
    return [
        Direction(
            name,
            Space.W,
            vector,
            layers=layers if wanted.layers else None,
            unit="sigma",
            sigma=statistics_of(model).sigma_along(vector),
            method=wanted.method,
            description=f"eigenvector {i} of the style weights, layers {format_layers(layers)}",
            provenance={"eigenvalue": float(value)},
        )
        for i, (name, vector, value) in enumerate(
            zip(names_of(wanted.name, len(vectors)), vectors, values, strict=True)
        )
    ]
