"""What tuning has added to a generator's weights, in a file that is small beside the generator.

Adam moves every weight, so the difference is not sparse; but it comes from one picture, so it is nearly of
low rank: rank 1 in the layers that make styles, since one w passes through them. Each weight is taken as a
matrix, (outputs, rest), and cut to its first singular vectors, in 8 bits each. All matrices share one
budget of bytes: it goes to the vectors that hold the largest share of their matrix per byte.

Axis letters: O outputs, I all other axes of a weight together, r rank.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.generator import StyleGenerator

LEFT, RIGHT, SCALE = ".left", ".right", ".scale"
BIAS_BYTES, SCALE_BYTES = 2, 4  # of a number: what has one axis or none is float16, scales are float32


def compress(delta: Tensors, share: float = 0.06) -> dict[str, Tensor]:
    """A flat dictionary for safetensors, on the CPU.

    `<name>.left` (O, r) int8, `<name>.right` (r, I) int8 and `<name>.scale` (r,) float32 for a matrix;
    `<name>` float16 for what has one axis or none; nothing for a matrix that gets no vector.

    Args:
        delta: by name of the weight.
        share: the size in bytes, over that of the delta in float32. The default is an eighth of a generator
            that is stored in float16; pictures then differ by about 53 dB.
    """
    matrices = {name: d.flatten(1) for name, d in delta.items() if d.ndim > 1}
    small = {name: d.half().contiguous() for name, d in delta.items() if d.ndim <= 1}
    budget = share * 4 * sum(d.numel() for d in delta.values())
    vectors = {name: _factors(matrix) for name, matrix in matrices.items()}
    left = budget - BIAS_BYTES * sum(d.numel() for d in small.values())
    packed = dict(small)
    for name, rank in _ranks(vectors, left).items():
        if rank:
            packed |= _pack(name, *(t[:rank] for t in vectors[name]))
    return {name: t.cpu() for name, t in packed.items()}


def apply(generator: StyleGenerator, tensors: Mapping[str, Tensor]) -> StyleGenerator:
    """A copy of the generator with what `compress` wrote added to its weights.

    Raises:
        ValueError: if the tensors do not belong to this generator.
    """
    tuned = copy.deepcopy(generator)
    weights = dict(tuned.named_parameters())
    unread = set(tensors)
    with torch.no_grad():
        for name, weight in weights.items():
            names = {name} if name in tensors else {name + LEFT, name + RIGHT, name + SCALE} & set(tensors)
            if names:
                weight.add_(_read(name, weight, tensors).to(weight))
            unread -= names
    if unread:
        raise ValueError(f"the generator has no weights for {', '.join(sorted(unread))}")
    return tuned


def size(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the numbers."""
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _factors(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(O, I) -> singular vectors (r, O) and (r, I), and singular values (r,) that fall."""
    U, S, V = torch.linalg.svd(matrix, full_matrices=False)
    return U.T, V, S


def _ranks(vectors: Mapping[str, tuple[Tensor, Tensor, Tensor]], budget: float) -> dict[str, int]:
    """How many vectors each matrix gets. Since singular values fall, the best come in their order."""
    offers = []
    for name, (U, V, S) in vectors.items():
        cost = U.shape[1] + V.shape[1] + SCALE_BYTES
        gains = S.square() / S.square().sum().clamp(min=1e-30) / cost
        offers += [(gain, cost, name) for gain in gains.tolist() if gain > 0]
    ranks = dict.fromkeys(vectors, 0)
    for _, cost, name in sorted(offers, reverse=True):
        budget -= cost
        if budget < 0:
            break
        ranks[name] += 1
    return ranks


def _pack(name: str, U: Tensor, V: Tensor, S: Tensor) -> dict[str, Tensor]:
    """U: (r, O), V: (r, I), S: (r,)."""
    left, right = U.abs().amax(dim=1) / 127, V.abs().amax(dim=1) / 127
    return {
        name + LEFT: (U / left[:, None]).round().to(torch.int8).T.contiguous(),
        name + RIGHT: (V / right[:, None]).round().to(torch.int8).contiguous(),
        name + SCALE: (S * left * right).float(),
    }


def _read(name: str, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """What is added to the weight, in its shape."""
    if name in tensors:
        if tensors[name].shape != weight.shape:
            raise ValueError(f"{name} must be {tuple(weight.shape)}, got {tuple(tensors[name].shape)}")
        return tensors[name]
    if missing := [name + end for end in (LEFT, RIGHT, SCALE) if name + end not in tensors]:
        raise ValueError(f"{', '.join(missing)} is missing")
    left, right, scale = (tensors[name + end].to(weight) for end in (LEFT, RIGHT, SCALE))
    O, I = weight.flatten(1).shape if weight.ndim > 1 else (0, 0)
    if scale.ndim != 1 or left.shape != (O, len(scale)) or right.shape != (len(scale), I):
        raise ValueError(f"{name + LEFT} and {name + RIGHT} do not make a weight of {tuple(weight.shape)}")
    return ((left * scale) @ right).reshape(weight.shape)
