"""Weights that a closed form gives: the same on every machine, without a file.

For every parameter and every buffer a sequence u of numbers in [-1, 1), by an integer hash of the position of
the tensor and of the number in it.
"""

import numpy as np
import torch


def u(count, position):
    """(count,) float64."""
    x = (np.arange(count, dtype=np.uint64) * 2654435761 + position * 40503 + 1) & 0xFFFFFFFF
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return x / 2**31 - 1


def images():
    """(1, 3, 256, 256), of squares of 8 pixels."""
    small = torch.from_numpy(u(3 * 32 * 32, 7).astype(np.float32)).reshape(1, 3, 32, 32)
    return small.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)


def parameter(shape, position, kind):
    """Matrices by their fan-in, the scales of normalisation and PReLU near to what they begin as."""
    values = u(int(np.prod(shape)), position)
    if len(shape) >= 2:
        values *= np.sqrt(3 / np.prod(shape[1:]))
    elif kind == "norm":
        values = 1 + 0.2 * values
    elif kind == "prelu":
        values = 0.25 + 0.1 * values
    else:
        values *= 0.1
    return values.astype(np.float32).reshape(shape)


def fill(shapes):
    """The state dict of a network of convolutions, batch normalisation and PReLU.

    Args:
        shapes: its parameters under their official names, in their official order.

    Returns:
        Names to arrays, with the statistics and counters of batch normalisation behind each of its biases.
    """
    state, norms = {}, 0
    for position, (name, shape) in enumerate(shapes.items()):
        stem, _, last = name.rpartition(".")
        normalises = len(shape) == 1 and f"{stem}.bias" in shapes
        kind = "" if last == "bias" else "norm" if normalises else "prelu"
        state[name] = parameter(shape, position, kind)
        if last == "bias" and len(shapes[f"{stem}.weight"]) == 1:
            buffers = 100_000 + 3 * norms
            state[f"{stem}.running_mean"] = (0.1 * u(shape[0], buffers)).astype(np.float32)
            state[f"{stem}.running_var"] = (1 + 0.5 * u(shape[0], buffers + 1)).astype(np.float32)
            state[f"{stem}.num_batches_tracked"] = np.array(0)
            norms += 1
    return state
