"""Latents as they come in and go out: JSON numbers, base64, safetensors files.

In all three a space is one array: z (N, z_dim), w (N, w_dim), w+ (N, L, w_dim), p and p+ like w and w+, and
s (N, S), the styles of all layers from coarse to fine, one after the other. A file holds it under the name of
its space, with one metadata entry, `ganserve`: what `workers.provenance` says of it. Features come in files
alone: w+ (N, L, w_dim), and `features:<layer>` (N, C, H, W) for what stands in that layer.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from generative.generator import Generator, StyleGenerator
from generative.inversion.feature_space import FEATURES, map_shapes
from generative.spaces import Space
from jobs.errors import BadRequest, LimitExceeded, UnknownArtifact, UnsupportedByModel
from jobs.sources import Latents as GivenLatents
from jobs.sources import Numbers, parse_layers
from jobs.words import MAX_IMAGES
from workers.provenance import KEYWORD, to_text
from workers.work.painting import NOISE

TUNING = "tuning:"  # prefix of what belongs to latent i: `tuning:<i>:<name>`


@dataclass(frozen=True)
class Latents:
    """N latents of one space, float32, and where each came from (its seed, or its hash)."""

    space: Space
    rows: Tensor
    origins: tuple[Mapping[str, Any], ...]
    noises: Mapping[str, Tensor] = field(default_factory=dict)
    """Noise maps (N, 1, H, W) by layer that were found together with the latents, in an inversion."""
    tunings: tuple[Mapping[str, Tensor], ...] = ()
    """For each of them what pivotal tuning has added to the generator's weights; empty without tuning."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """Of the space `features`, whose `rows` are in W+: what stands in a layer (N, C, H, W), by its name."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def space_of_rows(self) -> Space:
        return Space.W_PLUS if self.space is Space.FEATURES else self.space

    def row(self, index: int) -> "Latents":
        """One of them, alone."""
        keep = slice(index, index + 1)
        noises = {name: t[keep] for name, t in self.noises.items()}
        maps = {name: t[keep] for name, t in self.features.items()}
        return Latents(self.space, self.rows[keep], self.origins[keep], noises, self.tunings[keep], maps)


def known_by_hash(space: Space, rows: Tensor, noises: Mapping[str, Tensor] | None = None) -> Latents:
    """Latents of which we know the numbers only."""
    return Latents(
        space, rows, tuple({"space": space.value, "latent_sha256": digest(r)} for r in rows), noises or {}
    )


def digest(row: Tensor) -> str:
    """sha256 of one latent as little-endian float32."""
    return hashlib.sha256(row.contiguous().numpy().astype("<f4").tobytes()).hexdigest()


def row_shape(space: Space, generator: Generator) -> tuple[int, ...]:
    """The shape of one latent. Raises UnsupportedByModel for a space that the family lacks."""
    if space is Space.Z:
        return (generator.z_dim,)
    if not isinstance(generator, StyleGenerator) or space not in generator.spaces:
        raise UnsupportedByModel(f"the family {generator.family} has no space {space}")
    if space is Space.S:
        return (sum(generator.style_widths().values()),)
    one = space in (Space.W, Space.P)
    return (generator.w_dim,) if one else (generator.num_ws, generator.w_dim)


def check(latents: Latents, generator: Generator) -> Latents:
    """The same. Raises UnsupportedByModel, BadRequest or LimitExceeded for what this model cannot paint."""
    space, rows = latents.space_of_rows, latents.rows
    expected = row_shape(space, generator)
    if rows.shape[1:] != expected:
        shapes = f"one {space} of this model has the shape {list(expected)}, not {list(rows.shape[1:])}"
        raise UnsupportedByModel(shapes, code="latent_shape")
    if not 1 <= len(rows) <= MAX_IMAGES:
        raise LimitExceeded(f"a job takes 1 to {MAX_IMAGES} latents, not {len(rows)}")
    if not all(torch.isfinite(t).all() for t in (rows, *latents.features.values())):
        raise BadRequest("latents must be finite numbers")
    if latents.features:
        _check_maps(latents.features, len(rows), generator)
    return latents


def _check_maps(features: Mapping[str, Tensor], N: int, generator: Generator) -> None:
    """Raises UnsupportedByModel for what cannot stand in a layer of this model."""
    assert isinstance(generator, StyleGenerator)
    shapes = map_shapes(generator)
    for layer, found in features.items():
        if layer not in shapes or found.shape != (N, *shapes[layer]):
            raise UnsupportedByModel(
                f"features {list(found.shape)} of {layer!r} are not of this model", code="latent_shape"
            )


def parse(given: GivenLatents) -> Tensor:
    """The numbers of a request -> (N, ...) float32. Raises BadRequest."""
    array = numbers(given)
    if array.ndim < 2:
        raise BadRequest("latents need a row for each picture: the array has too few dimensions")
    return array


def numbers(given: Numbers) -> Tensor:
    """An array of a request, float32. Raises BadRequest."""
    try:
        if given.base64 is None:
            array = np.asarray(given.values, dtype=np.float32)
        else:
            body = base64.b64decode(given.base64, validate=True)
            array = np.frombuffer(body, "<f4").reshape(given.shape or ()).astype(np.float32)
    except (ValueError, TypeError, binascii.Error, OverflowError) as error:
        raise BadRequest("numbers must come in a regular array") from error
    return torch.from_numpy(np.ascontiguousarray(array))


def to_file(latents: Latents, about: Mapping[str, Any]) -> bytes:
    noises = {NOISE + layer: t.contiguous() for layer, t in latents.noises.items()}
    tunings = {f"{TUNING}{i}:{name}": t for i, d in enumerate(latents.tunings) for name, t in d.items()}
    maps = {FEATURES + layer: t.contiguous() for layer, t in latents.features.items()}
    rows = {latents.space_of_rows.value: latents.rows.contiguous()}
    return save({**rows, **maps, **noises, **tunings}, metadata={KEYWORD: to_text(about)})


def codes_to_file(codes: Mapping[str, Tensor], about: Mapping[str, Any]) -> bytes:
    """Tensors by name, of which no other job can paint."""
    return save(dict(codes), metadata={KEYWORD: to_text(about)})


def from_file(body: bytes) -> Latents:
    """What `to_file` wrote. Raises UnknownArtifact for any other file."""
    try:
        tensors = load(body)
    except (SafetensorError, ValueError) as error:
        raise UnknownArtifact("that output holds no latents") from error
    spaces = [space for space in Space if space.value in tensors]
    if len(spaces) != 1:
        raise UnknownArtifact("that output holds no latents")
    noises = {name.removeprefix(NOISE): t for name, t in tensors.items() if name.startswith(NOISE)}
    found = known_by_hash(spaces[0], tensors[spaces[0].value].to(torch.float32), noises)
    if maps := {n.removeprefix(FEATURES): t for n, t in tensors.items() if n.startswith(FEATURES)}:
        return _with_features(found, maps)
    tunings = tuple(_tuning(tensors, i) for i in range(len(found)))
    return replace(found, tunings=tunings) if any(tunings) else found


def _with_features(latents: Latents, maps: Mapping[str, Tensor]) -> Latents:
    """Latents in W+ with what stands in a layer, known by the hash of both."""
    joined = [
        torch.cat([t[i].flatten() for t in (latents.rows, *maps.values())]) for i in range(len(latents))
    ]
    origins = tuple({"space": Space.FEATURES.value, "latent_sha256": digest(row)} for row in joined)
    return replace(latents, space=Space.FEATURES, origins=origins, features=dict(maps))


def _tuning(tensors: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    prefix = f"{TUNING}{i}:"
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def layers_of(text: str, num_ws: int) -> tuple[int, ...]:
    """`"0-3,7"` -> (0, 1, 2, 3, 7). Raises UnsupportedByModel for layers that the model lacks."""
    layers = parse_layers(text)
    if layers[-1] >= num_ws:
        raise UnsupportedByModel(f"there is no layer {layers[-1]}: the model has layers 0 to {num_ws - 1}")
    return layers
