"""What is said of a flow: for each attribute a strip of pictures, and what setting it moves.

That is the re-scoring of `generative.discovery.annotation` with the ends of an attribute's range in place of
strengths: one row of a matrix for each attribute, all that moves in its columns.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative.discovery.annotation import Look, effects, movement
from generative.editing.attribute_flow import AttributeFlow, FlowAttribute
from generative.spaces import Space
from workers.job import RunningJob
from workers.models import LoadedModel
from workers.work.direction_notes import PEOPLE, Notes, Trial, put_text, shown, small, trusted
from workers.work.gallery import put_png

SHOWN_VALUES = 7  # pictures of a strip


def take_flow_notes(
    job: RunningJob[Any], model: LoadedModel, flow: AttributeFlow, begin: float
) -> Notes[AttributeFlow]:
    """Measure a flow, put out a strip for each attribute, and a report. Progress goes from `begin` to 1."""
    trial = Trial(job, model)
    rows = trial.rows(Space.W_PLUS)[:PEOPLE]
    before = trial.seen(Space.W_PLUS, rows)
    current = flow.values(before.readings)
    moves, reached, strips = {}, {}, []
    for i, attribute in enumerate(flow.attributes):
        name = attribute.name
        strip = trial.painted(Space.W_PLUS, _between(flow, attribute, rows[:1], current[:1]))
        strips.append(strip)
        put_png(job, f"strip_{i:04d}.png", strip, trial.about(name), role="strip", index=i)
        ends = [
            trial.seen(Space.W_PLUS, flow.edit(rows, current, flow.wanted(current, {name: end})))
            for end in attribute.range
        ]
        moves[name] = _moves(model, before, ends)
        reached[name] = [round(float(look.readings[name].mean()), 3) for look in ends]
        done, count = i + 1, len(flow.attributes)
        job.reporter.report(begin + (1 - begin) * done / count, done, count, message="measuring")
    _put_report(job, model, flow, moves, reached)
    entry = {"name": flow.name, "moves": moves, "reached": reached}
    return Notes(flow, entry, small(np.concatenate(strips)))


def _between(flow: AttributeFlow, attribute: FlowAttribute, row: Tensor, current: Tensor) -> Tensor:
    """One latent (1, L, D), with an attribute set to values over its range: (SHOWN_VALUES, L, D)."""
    values = torch.linspace(*attribute.range, SHOWN_VALUES).tolist()
    wanted = torch.cat([flow.wanted(current, {attribute.name: value}) for value in values])
    return flow.edit(row.expand(SHOWN_VALUES, -1, -1), current.expand(SHOWN_VALUES, -1), wanted)


def _moves(model: LoadedModel, before: Look, ends: list[Look]) -> dict[str, float]:
    """By factor, half of what lies between the two ends, the largest first."""
    readouts = trusted(model)
    low, high = (movement(before, end, readouts) for end in ends)
    return shown(effects({name: (low[name], high[name]) for name in low}, readouts))


def _put_report(
    job: RunningJob[Any],
    model: LoadedModel,
    flow: AttributeFlow,
    moves: dict[str, dict[str, float]],
    reached: dict[str, list[float]],
) -> None:
    lines = [
        f"# {flow.name}: a flow of {model.name}",
        "",
        "| attribute | asked for | reached | moves |",
        "| --- | --- | --- | --- |",
    ]
    for attribute in flow.attributes:
        asked, got = (
            " to ".join(f"{v:.3g}" for v in ends) for ends in (attribute.range, reached[attribute.name])
        )
        moved = ", ".join(f"{name} {value:+.2f}" for name, value in list(moves[attribute.name].items())[:6])
        lines.append(f"| {attribute.name} | {asked} | {got} | {moved or '-'} |")
    put_text(job, lines)
