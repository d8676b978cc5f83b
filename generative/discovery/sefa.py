"""Directions from the weights alone: "Closed-Form Factorization of Latent Semantics in GANs" (Shen & Zhou,
2021).

Agrees with `factorize_weight` of genforce/sefa: each style weight contributes its rows, each row is scaled to
unit length, and the eigenvectors of the sum of their outer products are the directions. The official code
leaves the order to `eig`; here the largest eigenvalue comes first, and the largest entry of a vector is
positive.

Variants under the same name give other directions: `rosinality_directions` and `modulation_weights` are those
of rosinality's `closed_form_factorization`, which does not scale the rows, and uses another ToRGB layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from generative.editing.direction import Direction
from generative.editing.layers import format_layers
from generative.generator import StyleGenerator
from generative.spaces import Space
from generative.statistics import WStatistics, fix_signs

COUNT = 8  # directions in each group
GROUPS = (  # prefix of the names, first and last w, what edits of these layers move in most generators
    ("", 0, 63, "all layers"),
    ("coarse_", 0, 3, "pose and shape"),
    ("middle_", 4, 7, "parts"),
    ("fine_", 8, 63, "colour and texture"),
)


def sefa_directions(style_weights: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """The unit vectors of W that change the styles most.

    Args:
        style_weights: a raw (channels, w_dim) affine weight for each layer to be edited.
        count: how many, at most w_dim.

    Returns:
        (count, w_dim) directions and (count,) eigenvalues, largest first. Both float32, computed in float64.
    """
    A = torch.cat(list(style_weights)).double()  # (channels of all layers, w_dim)
    A = A / A.norm(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(A.T @ A)  # columns, smallest first
    return fix_signs(vectors.flip(1).T[:count]).float(), values.flip(0)[:count].float()


def rosinality_directions(weights: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """As `sefa_directions`, with the rows as long as they are: the right singular vectors of the weights, and
    the squares of their singular values.
    """
    A = torch.cat(list(weights)).double()
    _, values, vectors = torch.linalg.svd(A, full_matrices=False)
    return fix_signs(vectors[:count]).float(), values[:count].square().float()


def modulation_weights(generator: StyleGenerator, layers: Sequence[int]) -> list[Tensor]:
    """The weights that rosinality's variant factorises: all that read the given ws, and of ToRGB layers the
    first alone.
    """
    names = list(generator.ws_index)
    to_rgb = [name for name in names if name.endswith("torgb")][:1]
    weights = generator.style_weights()
    return [
        weights[name].detach()
        for name in names
        if generator.ws_index[name] in layers and (not name.endswith("torgb") or name in to_rgb)
    ]


def style_weights(generator: StyleGenerator, layers: Sequence[int]) -> list[Tensor]:
    """The weights that read the given ws: one convolution each, and for the last w the last ToRGB.

    The other ToRGB layers share their w with a convolution; the official code leaves them out.
    """
    last = generator.num_ws - 1
    readers = {
        index: name
        for name, index in generator.ws_index.items()
        if not name.endswith("torgb") or index == last
    }
    weights = generator.style_weights()
    return [weights[readers[i]].detach() for i in layers]


def sefa_set(generator: StyleGenerator, statistics: WStatistics) -> list[Direction]:
    """Named directions for a model folder: for all layers `sefa_0`..., and for groups of them
    `sefa_coarse_0`...

    Strengths are in standard deviations of W along the direction, from -3 to 3; the official code moves by
    plain distances in W, which mean something else in every model.
    """
    found: list[Direction] = []
    for prefix, first, last, meaning in GROUPS:
        layers = tuple(range(first, min(last + 1, generator.num_ws)))
        if not layers:
            continue
        vectors, values = sefa_directions(style_weights(generator, layers), min(COUNT, generator.w_dim))
        for i, (vector, value) in enumerate(zip(vectors, values, strict=True)):
            found.append(
                Direction(
                    name=f"sefa_{prefix}{i}",
                    space=Space.W,
                    vector=vector,
                    layers=layers if prefix else None,
                    unit="sigma",
                    sigma=statistics.sigma_along(vector),
                    method="sefa",
                    description=f"eigenvector {i} of the style weights, {meaning}",
                    provenance={"eigenvalue": float(value), "layers": format_layers(layers)},
                )
            )
    return found
