"""Conditional manipulation: a direction without what it shares with others, so that edits along it keep them
(InterFaceGAN, Shen et al., 2020, section 2.2; the projection is `generative.discovery.interfacegan`'s).
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from generative.discovery.interfacegan import project_boundary
from generative.editing.direction import LAYERED, Direction
from generative.spaces import Space


def projected(direction: Direction, conditions: Sequence[Direction]) -> Direction:
    """The direction with the conditions' movement taken out; its vector keeps its length, sigma and unit.

    Vectors of W+ with a part for each layer are projected as one vector of all layers, and then those of one
    part count as that part in every layer.

    Raises:
        ValueError: if they are of different spaces, or nothing is left of the direction.
    """
    if not conditions:
        return direction
    vectors = [direction.vector, *(condition.vector for condition in conditions)]
    layered = [d.space in LAYERED for d in (direction, *conditions)]
    if len(set(layered)) > 1 or (not layered[0] and len({d.space for d in (direction, *conditions)}) > 1):
        raise ValueError(f"{direction.name!r} can be projected only on directions of its own space")
    shape = max((v.shape for v in vectors), key=len)
    flat = [v.expand(shape).flatten().double() for v in vectors]
    primal, *others = (v / v.norm() for v in flat)
    left = project_boundary(primal, others) * flat[0].norm()
    space = Space.W_PLUS if len(shape) == 2 else direction.space
    vector: Tensor = left.reshape(shape).to(direction.vector)
    return replace(direction, vector=vector, space=space)
