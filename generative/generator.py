"""What a generator offers, whatever its family: the base classes of `generative.networks`.

Every family turns z, and a class where it has them, into pictures: `Generator`. The families that go through
w add the spaces W, W+ and S: `StyleGenerator`.

Axis letters: N batch, L layers that take a w (num_ws), C channels, H W pixels.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from generative.spaces import Space, broadcast, truncate

Hook = Callable[[str, Tensor], Tensor]  # layer name, its output (N, C, H, W) -> what the next layer sees
Noise = Literal["const", "random", "none"]
Truncation = Literal["w", "z", "none"]


def pass_on(_name: str, value: Tensor) -> Tensor:
    """The hook that changes nothing."""
    return value


class Generator(nn.Module):
    """z -> picture. Pictures are (N, img_channels, R, R), meant for [-1, 1] and not clamped.

    Subclasses set the attributes below, and write `forward`.
    """

    family: ClassVar[str]
    spaces: ClassVar[tuple[Space, ...]] = (Space.Z,)
    psi_acts_on: ClassVar[Truncation] = "none"
    """Truncation pulls w to its mean, or scales z, or the family has none."""
    pixel_gain: ClassVar[float] = 127.5
    """By which the official code of the family multiplies pictures; it adds the next, and cuts to bytes."""
    pixel_offset: ClassVar[float] = 128.0

    config: Any  # a frozen dataclass; its fields are the card's `architecture`
    z_dim: int
    c_dim: int  # classes; 0 for an unconditional model
    img_resolution: int  # pixels, of both sides
    img_channels: int
    max_lod: float = 0.0  # the largest level of detail that can be left out, for progressively grown networks

    def draw_z(self, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(z_dim,), the z that the official script of the family draws for a seed: standard normal."""
        return np.random.RandomState(seed).randn(1, self.z_dim)[0]

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """The whole way.

        Args:
            z: (N, z_dim).
            c: (N, c_dim), one-hot or a mix of classes, for a conditional model.
            psi: truncation, for all or (N,) for each; families without it take no other value than 1.
            lod: levels of detail to leave out, 0 to `max_lod`; None for what the checkpoint says.
            hook: called with every layer's name and output; returns what the next layer sees.

        Returns:
            (N, img_channels, R, R).
        """
        raise NotImplementedError

    def features(self, z: Tensor, layers: Collection[str], c: Tensor | None = None) -> dict[str, Tensor]:
        """The outputs (N, C, H, W) of the named layers. Raises ValueError for names that no layer has."""
        return collected(lambda hook: self(z, c, hook=hook), layers)


class StyleGenerator(Generator):
    """z -> w -> styles -> picture. `layers` are named coarse to fine; each has a style, S is all of them."""

    spaces: ClassVar[tuple[Space, ...]] = (Space.Z, Space.W, Space.W_PLUS, Space.S)
    psi_acts_on: ClassVar[Truncation] = "w"

    w_dim: int
    num_ws: int
    ws_index: dict[str, int]
    """Layer name -> which of the ws it takes, coarse to fine: the keys of `styles`, in their order."""

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.ws_index)

    @property
    def w_avg(self) -> Tensor:
        """(w_dim,), or (num_ws, w_dim) where each layer has its own: what truncation pulls to."""
        raise NotImplementedError

    @property
    def noise_sizes(self) -> dict[str, int]:
        """Side of the noise map of each layer that takes one, coarse to fine."""
        raise NotImplementedError

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) for a conditional model -> w: (N, w_dim), not truncated."""
        raise NotImplementedError

    def styles(self, ws: Tensor) -> dict[str, Tensor]:
        """W+ to S. ws: (N, num_ws, w_dim) -> (N, channels) by layer name."""
        raise NotImplementedError

    def style_weights(self) -> dict[str, Tensor]:
        """The weight (channels, w_dim) that makes each layer's style from its w, as it is stored."""
        raise NotImplementedError

    def map_truncated(self, z: Tensor, c: Tensor | None, psi: Tensor) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) with classes, psi: (N, L) for each layer -> ws: (N, L, w_dim)."""
        return self.w_avg.lerp(broadcast(self.map(z, c), self.num_ws), psi[:, :, None])

    def style_widths(self) -> dict[str, int]:
        """Length of the style of each layer, coarse to fine; their sum is the length of S."""
        return {name: len(weight) for name, weight in self.style_weights().items()}

    def style_rows(self, ws: Tensor) -> Tensor:
        """W+ to S as one array: (N, L, w_dim) -> (N, channels of all layers), coarse to fine."""
        return torch.cat(list(self.styles(ws).values()), dim=1)

    def style_place(self, layer: str, channel: int) -> int:
        """Where in a row of `style_rows` a channel of a layer lies."""
        widths = self.style_widths()
        names = list(widths)
        return sum(widths[name] for name in names[: names.index(layer)]) + channel

    def split_styles(self, rows: Tensor) -> dict[str, Tensor]:
        """S as one array, (N, channels of all layers) -> (N, channels) by layer name."""
        widths = self.style_widths()
        return dict(zip(widths, rows.split(list(widths.values()), dim=1), strict=True))

    def synthesize_styles(
        self,
        styles: Mapping[str, Tensor],
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """Paint from S.

        Args:
            styles: (N, channels) for every layer name.
            noise: the stored noise, fresh noise for each picture (drawn from `rng`), or none.
            noises: (N or 1, 1, H, W) by layer name, for layers that shall have this noise in any case.
            lod: levels of detail to leave out; None for what the checkpoint says.
            hook: called with every layer's name and output; returns what the next layer sees.

        Returns:
            (N, img_channels, R, R), not clamped.
        """
        raise NotImplementedError

    def synthesize(
        self,
        ws: Tensor,
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """ws: (N, num_ws, w_dim) -> pictures. The rest as in `synthesize_styles`."""
        return self.synthesize_styles(self.styles(ws), noise, noises, rng, lod=lod, hook=hook)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """As `Generator.forward`; psi, a number, acts in the first `cutoff` layers."""
        if isinstance(psi, Tensor):
            raise ValueError("psi must be a number: truncate ws by yourself for others")
        ws = truncate(broadcast(self.map(z, c), self.num_ws), self.w_avg, psi, cutoff)
        return self.synthesize(ws, noise, lod=lod, hook=hook)

    def features_of_ws(
        self, ws: Tensor, layers: Collection[str], noise: Noise = "const"
    ) -> dict[str, Tensor]:
        """The outputs (N, C, H, W) of the named layers. Raises ValueError for names that no layer has."""
        return collected(lambda hook: self.synthesize(ws, noise, hook=hook), layers)

    def draw_noises(
        self,
        noise: Noise,
        noises: Mapping[str, Tensor] | None,
        stored: Mapping[str, Tensor],
        N: int,
        rng: torch.Generator | None,
    ) -> dict[str, Tensor | None]:
        """What each layer adds, (N or 1, 1, H, W), or None. `stored`: the (H, W) maps of "const"."""
        drawn: dict[str, Tensor | None] = dict.fromkeys(self.layers)
        for name, kept in stored.items():
            if noises is not None and name in noises:
                drawn[name] = noises[name]
            elif noise == "const":
                drawn[name] = kept[None, None]
            elif noise == "random":
                drawn[name] = torch.randn(
                    (N, 1, *kept.shape), generator=rng, device=kept.device, dtype=kept.dtype
                )
        return drawn


def sample_z(seeds: Sequence[int], generator: Generator) -> Tensor:
    """One z for each seed, (N, z_dim) float32, as the official scripts of the family draw it."""
    return torch.from_numpy(np.stack([generator.draw_z(seed) for seed in seeds]).astype(np.float32))


def collected(run: Callable[[Hook], object], layers: Collection[str]) -> dict[str, Tensor]:
    """What passes the hook of `run` under the given names. Raises ValueError for those that never come."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> Tensor:
        if name in layers:
            seen[name] = value
        return value

    run(keep)
    if missing := set(layers) - set(seen):
        raise ValueError(f"no such layers: {', '.join(sorted(missing))}")
    return seen


class _Reached(Exception):
    """Ends a forward pass at a layer: what comes behind it is not computed."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = value


def up_to(layer: str, run: Callable[[Hook], object]) -> Tensor:
    """The output of a layer, computed no further. Raises ValueError if no layer has that name."""

    def stop(name: str, value: Tensor) -> Tensor:
        if name == layer:
            raise _Reached(value)
        return value

    try:
        run(stop)
    except _Reached as reached:
        return reached.value
    raise ValueError(f"no such layer: {layer}")


@torch.no_grad()
def feature_shapes(generator: Generator) -> dict[str, tuple[int, ...]]:
    """Of every output that a hook sees, by name in the order of computing, (C, H, W). Paints one picture."""
    seen: dict[str, tuple[int, ...]] = {}

    def note(name: str, value: Tensor) -> Tensor:
        seen[name] = tuple(value.shape[1:])
        return value

    device = next(generator.parameters()).device
    c = torch.zeros(1, generator.c_dim, device=device) if generator.c_dim else None
    generator(torch.zeros(1, generator.z_dim, device=device), c, hook=note)
    return seen
