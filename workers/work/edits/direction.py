"""direction: along a named direction, a vector of one's own, a coordinate of Z, a style channel, features."""

from dataclasses import replace

from torch import Tensor

from generative.editing.conditions import projected
from generative.editing.direction import Direction, move
from generative.editing.placing import axis, to_boundary, to_coordinate
from generative.spaces import Space
from jobs.editing import DirectionOperation
from workers.latents import Latents, numbers, parse
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft
from workers.work.painting import Touch
from workers.work.sources import with_w


def act(bench: Bench, draft: Draft, wanted: DirectionOperation) -> Draft:
    if wanted.features is not None:
        return _offset(draft, wanted)
    along = projected(_direction(bench, wanted), [bench.model.direction(name) for name in wanted.keep])
    layers = bench.layers(wanted.layers)

    def moved(latents: Latents) -> Latents:
        at = bench.in_space(latents, along.space, draft.painter)
        return replace(at, rows=_moved(bench, at.rows, along, wanted, layers))

    return draft.moved(moved)


def _direction(bench: Bench, wanted: DirectionOperation) -> Direction:
    if wanted.name is not None:
        return bench.model.direction(wanted.name)
    if wanted.dimension is not None:
        z_dim = bench.model.generator.z_dim
        return Direction(f"dimension {wanted.dimension}", Space.Z, axis(wanted.dimension, z_dim))
    if wanted.channel is not None:
        generator = with_w(bench.model.generator)
        at = generator.style_place(wanted.channel.layer, wanted.channel.index)
        styles = bench.styles()
        sigma = float(styles.sigma[at])
        name = f"channel {wanted.channel.index} of {wanted.channel.layer}"
        return Direction(name, Space.S, axis(at, len(styles.sigma)), unit="sigma", sigma=sigma)
    assert wanted.vector is not None
    return Direction("vector", Space(wanted.vector.space), parse(wanted.vector)[0])


def _moved(
    bench: Bench,
    rows: Tensor,
    along: Direction,
    wanted: DirectionOperation,
    layers: tuple[int, ...] | None,
) -> Tensor:
    if wanted.mode == "boundary":
        return to_boundary(rows, along, wanted.strength, layers)
    if wanted.mode == "coordinate":
        return to_coordinate(rows, along, wanted.strength, bench.mean(along.space), layers)
    if wanted.mode == "offset" and along.unit == "distance":
        along = replace(along, unit="raw")
    return move(rows, along, wanted.strength, layers)


def _offset(draft: Draft, wanted: DirectionOperation) -> Draft:
    assert wanted.features is not None
    offset = wanted.strength * numbers(wanted.features)
    tensors = {"offset": offset.expand(len(draft), *offset.shape)}
    return draft.touched(Touch("offset", wanted.features.layer, None), tensors, None)
