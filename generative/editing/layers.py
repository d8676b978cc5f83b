"""Layer ranges as people write them: `0-3,7`, `8-`, `all`. Numbers count the ws, coarse to fine."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from generative.generator import Generator, StyleGenerator
from generative.spaces import Space

MAX_LAYERS = 64


def parse_layers(text: str, count: int) -> tuple[int, ...]:
    """The layers that a text names, sorted, each once.

    Args:
        text: `all`, or parts joined by commas, each `a`, `a-b` (both included) or `a-` (to the last).
        count: how many layers there are.

    Raises:
        ValueError: for anything else, and for layers that are not there.
    """
    if text.strip() == "all":
        return tuple(range(count))
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (not (last.isdecimal() or (dash and not last)) and dash):
            raise ValueError(f"not a range of layers: {part.strip()!r}")
        low, high = int(first), int(last or count - 1) if dash else int(first)
        if not low <= high < count:
            raise ValueError(f"{part.strip()!r} is outside of the layers 0-{count - 1}")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))


def format_layers(layers: Sequence[int]) -> str:
    """The shortest text that `parse_layers` reads back: (0, 1, 2, 3, 7) -> `0-3,7`."""
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def read_layers(text: str | None) -> tuple[int, ...] | None:
    """The layers of a stored record; None, as there, for all."""
    return None if text is None else parse_layers(text, MAX_LAYERS)


def acting(generator: Generator, space: Space, layers: Collection[int] | None) -> Tensor:
    """Which numbers of a latent belong to layers: bool, (L, 1) for W+ and P+, (S,) for S; None is all.

    Raises:
        ValueError: for layers of a space that has none.
    """
    if layers is None:
        return torch.ones((), dtype=torch.bool)
    if space in (Space.W_PLUS, Space.P_PLUS) and isinstance(generator, StyleGenerator):
        return torch.tensor([layer in layers for layer in range(generator.num_ws)])[:, None]
    if space is Space.S and isinstance(generator, StyleGenerator):
        index = generator.ws_index
        return torch.cat(
            [torch.full((n,), index[name] in layers) for name, n in generator.style_widths().items()]
        )
    raise ValueError(f"latents in {space} have no layers")
