"""discover: directions found in a model, or read from a file of another project, made a set of the tenant's.

The methods are those of `generative.discovery`; here the engine samples, paints and looks. Whatever the
method, the set is measured and named in the same way (`workers.work.direction_notes`).
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generative.discovery.ganspace import directions as as_directions
from generative.discovery.ganspace import incremental_pca
from generative.discovery.interfacegan import project_boundary, train_boundary
from generative.discovery.sefa import sefa_directions, style_weights
from generative.discovery.stylespace import attribute_channels, style_statistics
from generative.editing.direction import Direction
from generative.editing.files import load_directions, save_directions
from generative.editing.layers import format_layers
from generative.generator import StyleGenerator
from generative.spaces import Space
from generative.statistics import WStatistics
from jobs.blobs import directions_prefix, fetch
from jobs.discovery import (
    MAX_DIRECTIONS,
    DirectionsImport,
    FactorInput,
    GanspaceInput,
    InterfaceganInput,
    SefaInput,
    StylespaceInput,
)
from jobs.errors import BadCheckpoint, Conflict, JobFailed, LimitExceeded, NotFound, UnsupportedByModel
from jobs.schemas import DirectionsRequest
from jobs.store import DirectionSetRow
from workers.converter import read_directions
from workers.job import Result, RunningJob
from workers.latents import layers_of
from workers.models import LoadedModel
from workers.work import painting
from workers.work.direction_notes import Notes, look, put_report, take_notes, trusted
from workers.work.sources import Truncation, class_number, from_seeds, mapping_inputs, with_w

Job = RunningJob[DirectionsRequest]
FOUND = 0.5  # of the progress; the rest is measuring
MAPPED, PAINTED = 10_000, 256  # samples between two looks at the clock


def discover(job: Job) -> Result:
    wanted, model = job.request.input, job.model()
    if wanted.name in model.directions:  # before anything is computed
        raise Conflict(f"the model has a direction {wanted.name!r} already", code="name_taken")
    found = [_with_provenance(direction, job) for direction in _FIND[type(wanted)](job, model)]
    if len(found) > MAX_DIRECTIONS:
        raise LimitExceeded(f"{len(found)} directions; a set has at most {MAX_DIRECTIONS}")
    if taken := {direction.name for direction in found} & set(model.directions):
        raise Conflict(f"the model has a direction {min(taken)!r} already", code="name_taken")
    notes = take_notes(job, model, found, FOUND)
    put_report(job, model, notes)
    job.found = _stored(job, model, notes)
    measured = [note.entry for note in notes if note.entry]
    return {"set": wanted.name, "count": len(found), "readable": trusted(model) != (), "directions": measured}


def _with_provenance(direction: Direction, job: Job) -> Direction:
    wanted = job.request.input.model_dump(mode="json", exclude={"upload", "name"}, exclude_none=True)
    return replace(direction, provenance=direction.provenance | {"input": wanted, "job": job.claim.job_id})


def _stored(job: Job, model: LoadedModel, notes: list[Notes]) -> DirectionSetRow:
    wanted = job.request.input
    prefix = directions_prefix(job.tenant, model.name, wanted.name, job.claim.job_id)
    with tempfile.TemporaryDirectory(prefix="directions-") as place:
        save_directions(Path(place), wanted.name, notes[0].direction.method, [n.direction for n in notes])
        files = sorted((Path(place) / "directions").iterdir())
        for path in files:
            job.context.blobs.write(prefix + path.name, path, media_type="application/octet-stream")
        record = json.loads((Path(place) / "directions" / f"{wanted.name}.json").read_text())
        size = sum(path.stat().st_size for path in files)
    measured = {note.direction.name: note.entry for note in notes}
    listing = [
        {"method": record["method"]} | entry | measured[entry["name"]] for entry in record["directions"]
    ]
    return DirectionSetRow(model.name, wanted.name, model.sha256, prefix, size, listing)


# --- methods ---------------------------------------------------------------------------------------------


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def _statistics(model: LoadedModel) -> WStatistics:
    assert model.statistics is not None  # every family with a W has them
    return model.statistics


def _sefa(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, SefaInput)
    layers = layers_of(wanted.layers, generator.num_ws) if wanted.layers else tuple(range(generator.num_ws))
    weights = [weight.cpu() for weight in style_weights(generator, layers)]
    vectors, values = sefa_directions(weights, min(wanted.count, generator.w_dim))
    return [
        Direction(
            name,
            Space.W,
            vector,
            layers=layers if wanted.layers else None,
            unit="sigma",
            sigma=_statistics(model).sigma_along(vector),
            method="sefa",
            description=f"eigenvector {i} of the style weights, layers {format_layers(layers)}",
            provenance={"eigenvalue": float(value)},
        )
        for i, (name, vector, value) in enumerate(
            zip(_names(wanted.name, len(vectors)), vectors, values, strict=True)
        )
    ]


def _ganspace(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, GanspaceInput)
    step = max(MAPPED, 3 * wanted.components)
    truncation = Truncation(class_index=class_number(model.card, wanted.class_index))
    batches = (codes["ws"][:, 0] for codes in _samples(job, model, wanted.samples, step, truncation))
    try:
        components = incremental_pca(batches, wanted.components)
    except ValueError as error:
        raise JobFailed(str(error)) from error
    found = as_directions(components, Space.W, components.stdev)
    names = _names(wanted.name, len(found))
    return [replace(direction, name=name) for direction, name in zip(found, names, strict=True)]


def _interfacegan(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, InterfaceganInput)
    factors = (wanted.factor, *wanted.keep)
    scores, latents = _scored(job, model, wanted, factors, lambda codes: codes["ws"][:, 0])
    boundaries = [train_boundary(latents, scores[name], wanted.chosen, wanted.seed) for name in factors]
    normals = [boundary.normal for boundary in boundaries]
    try:
        normal = project_boundary(normals[0], normals[1:]) if wanted.keep else normals[0]
    except ValueError as error:
        raise JobFailed(str(error)) from error
    right = boundaries[0].validation
    direction = boundaries[0].direction(wanted.name, Space.W)
    return [
        replace(
            direction,
            vector=normal,
            description=f"normal of the boundary of {wanted.factor}",
            provenance={"validation": f"{right.right} of {right.total}"},
        )
    ]


def _stylespace(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, StylespaceInput)

    def styles_of(codes: dict[str, Tensor]) -> Tensor:
        rows: Tensor = job.forward(model, painting.style_rows, {"ws": codes["ws"]})
        return rows

    scores, rows = _scored(job, model, wanted, (wanted.factor,), styles_of)
    styles = list(generator.split_styles(rows).values())
    statistics = style_statistics(styles)
    most = scores[wanted.factor].argsort(descending=True, stable=True)[: wanted.examples]
    names = list(generator.style_widths())
    layers = [i for i, name in enumerate(names) if "torgb" not in name]
    found = attribute_channels([s[most] for s in styles], statistics, wanted.channels, layers)
    starts = [0, *torch.tensor(list(generator.style_widths().values())).cumsum(0).tolist()]
    directions = []
    for name, channel in zip(_names(wanted.name, len(found)), found, strict=True):
        vector = torch.zeros(rows.shape[1])
        vector[starts[channel.layer] + channel.index] = 1.0 if channel.score >= 0 else -1.0
        directions.append(
            Direction(
                name,
                Space.S,
                vector,
                unit="sigma",
                sigma=float(statistics.std[channel.layer][channel.index]),
                method="stylespace",
                description=f"channel {channel.index} of {names[channel.layer]}, for {wanted.factor}",
                provenance={"score": channel.score},
            )
        )
    return directions


def _read_file(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, DirectionsImport)
    generator = model.generator
    target = {"z_dim": generator.z_dim}
    if isinstance(generator, StyleGenerator):
        target |= {"w_dim": generator.w_dim, "num_ws": generator.num_ws}
    job.reporter.report(0.05, message="reading the file")
    with tempfile.TemporaryDirectory(prefix="directions-") as place:
        file, folder = Path(place) / "upload", Path(place) / "set"
        try:
            fetch(job.context.blobs, wanted.upload, file)
        except NotFound as error:
            raise BadCheckpoint("the uploaded file is no longer there; upload it again") from error
        read_directions(
            file, folder, wanted.name, target, job.reporter.alive, space=wanted.space, first=wanted.first
        )
        return list(load_directions(folder).values())


_FIND: dict[type, Callable[[Job, LoadedModel], list[Direction]]] = {
    SefaInput: _sefa,
    GanspaceInput: _ganspace,
    InterfaceganInput: _interfacegan,
    StylespaceInput: _stylespace,
    DirectionsImport: _read_file,
}


# --- samples ---------------------------------------------------------------------------------------------


def _samples(
    job: Job, model: LoadedModel, count: int, step: int, truncation: Truncation
) -> Iterator[dict[str, Tensor]]:
    """`ws` (n, L, w_dim) of so many samples, in pieces."""
    seed = getattr(job.request.input, "seed", 0)
    for first in range(0, count, step):
        seeds = range(seed + first, seed + min(first + step, count))
        inputs = mapping_inputs(model, from_seeds(seeds, model.generator), truncation)
        yield {"ws": job.forward(model, painting.map_z, inputs)}
        done = first + len(seeds)
        job.reporter.report(FOUND * done / count, done, count, message="sampling")


def _scored(
    job: Job,
    model: LoadedModel,
    wanted: FactorInput,
    factors: tuple[str, ...],
    keep: Callable[[dict[str, Tensor]], Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    """Of all samples: how much of each factor is seen in them, (N,), and what `keep` makes of their codes."""
    for name in factors:
        _refuse_factor(model, name)
    scores: dict[str, list[Tensor]] = {name: [] for name in factors}
    kept = []
    truncation = Truncation(wanted.psi, class_index=class_number(model.card, wanted.class_index))
    for codes in _samples(job, model, wanted.samples, PAINTED, truncation):
        seen = look(job, model, codes)
        for name in factors:
            scores[name].append(seen.readings[name])
        kept.append(keep(codes))
    return {name: torch.cat(parts) for name, parts in scores.items()}, torch.cat(kept)


def _refuse_factor(model: LoadedModel, name: str) -> None:
    known: dict[str, Any] = {readout.name: readout for readout in trusted(model)}
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise UnsupportedByModel(f"no factor {name!r} is read from the model's pictures; known: {listed}")
    if known[name].kind == "categorical":
        raise UnsupportedByModel(f"{name} is one of several categories: it has no more and no less")
