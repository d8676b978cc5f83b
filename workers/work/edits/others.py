"""mix, transfer, interpolate, average: with other latents, in W+, or in S where latents are there already."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from generative.editing.averaging import average
from generative.editing.layers import acting
from generative.editing.mixing import mix
from generative.editing.transfer import transfer
from generative.generator import StyleGenerator
from generative.spaces import Space, slerp
from jobs.editing import AverageOperation, InterpolateOperation, MixOperation, TransferOperation
from jobs.errors import BadRequest
from workers.latents import Latents
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft

Combine = Callable[[Tensor, list[Tensor], Tensor], Tensor]  # rows, the others' rows, chosen numbers -> rows


def act_mix(bench: Bench, draft: Draft, wanted: MixOperation | InterpolateOperation) -> Draft:
    return _combined(
        bench,
        draft,
        [bench.paired(wanted.others)],
        wanted.layers,
        lambda rows, others, chosen: mix(rows, others[0], chosen, wanted.strength),
    )


def act_transfer(bench: Bench, draft: Draft, wanted: TransferOperation) -> Draft:
    return _combined(
        bench,
        draft,
        [bench.paired(wanted.begin), bench.paired(wanted.end)],
        wanted.layers,
        lambda rows, others, chosen: transfer(rows, others[0], others[1], chosen, wanted.strength),
    )


def act_interpolate(bench: Bench, draft: Draft, wanted: InterpolateOperation) -> Draft:
    if wanted.mode == "linear":
        return act_mix(bench, draft, wanted)
    goals = bench.in_space(bench.paired(wanted.others), Space.Z, draft.painter).rows
    t = torch.tensor([wanted.strength])

    def turn(latents: Latents) -> Latents:
        at = bench.in_space(latents, Space.Z, draft.painter)
        ways = zip(at.rows, goals.expand_as(at.rows), strict=True)
        return replace(at, rows=torch.cat([slerp(a, b, t) for a, b in ways]))

    return draft.moved(turn)


def act_average(bench: Bench, draft: Draft, wanted: AverageOperation) -> Draft:
    others = bench.others(wanted.others)
    if wanted.weights is not None and len(wanted.weights) != len(others):
        raise BadRequest(f"{len(wanted.weights)} weights for {len(others)} latents")
    return _combined(
        bench,
        draft,
        [others],
        wanted.layers,
        lambda rows, found, chosen: average(rows, found[0], chosen, wanted.weights, wanted.strength),
    )


def _combined(
    bench: Bench, draft: Draft, others: list[Latents], layers: str | None, combine: Combine
) -> Draft:
    chosen = bench.layers(layers)

    def move(latents: Latents) -> Latents:
        space = Space.S if latents.space is Space.S else Space.W_PLUS
        if not isinstance(draft.painter.generator, StyleGenerator):
            space = Space.Z
        at = bench.in_space(latents, space, draft.painter)
        theirs = [bench.in_space(other, space, draft.painter).rows for other in others]
        return replace(at, rows=combine(at.rows, theirs, acting(draft.painter.generator, space, chosen)))

    return draft.moved(move)
