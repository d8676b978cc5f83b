"""Weights that are stored beside what spectral normalisation needs, divided by their norm once and for all.

"Spectral Normalization for Generative Adversarial Networks" (Miyato et al., 2018): a layer uses W / sigma,
where sigma = u W v estimates the largest singular value of W, (O, everything else). The official codes divide
whenever the layer is called; in evaluation mode that always gives the same.
"""

import torch.nn.functional as F
from torch import Tensor

from generative.checkpoints.errors import CheckpointError


def divide_after_a_step(name: str, weight: Tensor, u: Tensor, eps: float) -> Tensor:
    """As ajbrock/BigGAN-PyTorch, whose layers take one step of the power iteration from what is stored.

    Args:
        name: of the weight, for error messages.
        weight: (O, ...).
        u: (1, O).
        eps: the least norm that a vector is divided by.

    Raises:
        CheckpointError: `wrong_shapes`, `non_finite`.
    """
    W = _matrix(name, weight)
    _expect(f"the singular vector of {name}", u, (1, len(W)))
    v = F.normalize(u.double() @ W, eps=eps)
    new_u = F.normalize(v @ W.T, eps=eps)
    return _divided(name, weight, v @ W.T @ new_u.T)


def divide(name: str, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """As `torch.nn.utils.spectral_norm`, whose layers take both vectors as they are stored.

    weight: (O, ...), u: (O,), v: (everything else,). Raises as `divide_after_a_step`.
    """
    W = _matrix(name, weight)
    _expect(f"a singular vector of {name}", u, W.shape[:1])
    _expect(f"a singular vector of {name}", v, W.shape[1:])
    return _divided(name, weight, u.double() @ W @ v.double())


def _matrix(name: str, weight: Tensor) -> Tensor:
    """(O, ...) -> (O, everything else), in float64."""
    if weight.ndim < 2:
        raise CheckpointError("wrong_shapes", f"{name[:100]} is {tuple(weight.shape)}, which is no matrix")
    return weight.double().flatten(1)


def _divided(name: str, weight: Tensor, sigma: Tensor) -> Tensor:
    divided = (weight.double() / sigma).to(weight.dtype)
    if not divided.isfinite().all():
        raise CheckpointError("non_finite", f"{name[:100]} has no spectral norm to be divided by")
    return divided


def _expect(what: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if value.shape != shape:
        raise CheckpointError("wrong_shapes", f"{what[:150]} is {tuple(value.shape)}, not {tuple(shape)}")
