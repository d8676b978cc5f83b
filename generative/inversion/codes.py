"""Where a search moves: the latent spaces of a generator, as parameters of an optimisation.

A code is one latent without its batch axis: z (z_dim,), w (1, D), w+ (L, D), s (S,), p (1, D), p+ (L, D),
features (C H W + L D,). P is whitened (`generative.p_space`).

Axis letters: N pictures, L layers (num_ws), D is w_dim, S all styles, C H W of a map of features.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from generative.generator import Generator, StyleGenerator
from generative.inversion.feature_space import FEATURES, Feature
from generative.p_space import (
    PStatistics,
    from_p,
    from_pn,
    geocross,
    p_norm,
    p_statistics,
    to_p,
    to_pn,
)
from generative.spaces import Space, broadcast
from generative.statistics import WStatistics, sample_w, w_statistics

Painted = dict[str, Tensor]  # what a generator paints from: `ws`, `styles`, or `z`; `features:<layer>`
Penalty = Literal["spread", "p_norm"]
Form = Literal["plain", "p_norm", "sphere"]
SAMPLES = 1000  # of W, whose styles tell the spread of S
SAMPLED_MAPS = 64  # of W, whose features tell the spread of a layer


@dataclass(frozen=True, eq=False)
class Code:
    """A space as the place of a search. Compared by identity: searches that share it may share steps."""

    space: Space
    centre: Tensor | None
    """(*shape), where a search begins that has no better start; None: at random, standard normal."""
    spread: float
    """Root of the mean squared distance of a code to the centre, summed over an axis: one number."""
    shape: tuple[int, ...]
    decode: Callable[[Tensor], Painted]
    """(N, *shape) -> what the generator paints from."""
    encode: Callable[[Tensor], Tensor] | None
    """ws (N, L, D) -> (N, *shape), for starts that an encoder found; None where there is no way back."""
    penalty: Callable[[Tensor], Tensor]
    """(N, *shape) -> (N,): how unusual codes are; but for PULSE, 1 for those of samples on average."""
    settle: Callable[[Tensor], Tensor] = lambda code: code
    """(N, *shape) -> the same, brought back to where codes may lie; called after every step."""

    @property
    def parameter(self) -> str:
        """The name of the parameter in the program: `z`, `w`, `s`, `p` or `f`."""
        return self.space.value[0]


def z_code(generator: Generator, label: int | None = None) -> Code:
    """Z, of any family; for one with classes that of the class `label`."""
    if generator.c_dim and label is None:
        raise ValueError("a model with classes is searched in z of one of them")
    one_hot = torch.eye(generator.c_dim)[label] if label is not None else None

    def class_of(z: Tensor) -> Tensor | None:
        return None if one_hot is None else one_hot.to(z).expand(len(z), -1)

    def decode(z: Tensor) -> Painted:
        if isinstance(generator, StyleGenerator):
            return {"ws": broadcast(generator.map(z, class_of(z)), generator.num_ws)}
        c = class_of(z)
        return {"z": z} if c is None else {"z": z, "c": c}

    dim = generator.z_dim
    return Code(Space.Z, None, dim**0.5, (dim,), decode, None, lambda z: z.square().mean(dim=1))


def w_code(
    generator: StyleGenerator,
    statistics: WStatistics,
    space: Literal[Space.W, Space.W_PLUS],
    penalty: Penalty = "spread",
    axes: PStatistics | None = None,
) -> Code:
    """W or W+. `p_norm` is II2S's regulariser, for which the axes of P are needed."""
    L = 1 if space is Space.W else generator.num_ws
    mean, spread = statistics.mean.to(next(generator.parameters())), statistics.total_std
    measure = lambda w: (w - mean).square().sum(dim=2).mean(dim=1) / spread**2  # noqa: E731
    if penalty == "p_norm":
        assert axes is not None
        at = axes.to(mean)
        measure = lambda w: p_norm(to_pn(w, at))  # noqa: E731
    return Code(
        space,
        mean.expand(L, -1),
        spread,
        (L, generator.w_dim),
        lambda w: {"ws": w.expand(-1, generator.num_ws, -1)},
        lambda ws: ws if space is Space.W_PLUS else ws.mean(dim=1, keepdim=True),
        measure,
    )


def p_code(
    generator: StyleGenerator,
    axes: PStatistics,
    space: Literal[Space.P, Space.P_PLUS],
    w: Tensor | None = None,
) -> Code:
    """P or P+, whitened: every direction is as wide as its samples are.

    w: (M, D), samples in whose middle searches begin; None: in that of all.
    """
    L = 1 if space is Space.P else generator.num_ws
    axes = axes.to(next(generator.parameters()))
    middle = axes.mean.new_zeros(generator.w_dim) if w is None else to_pn(w.to(axes.mean), axes).mean(dim=0)

    def encode(ws: Tensor) -> Tensor:
        pn = to_pn(ws, axes)
        return pn if space is Space.P_PLUS else pn.mean(dim=1, keepdim=True)

    return Code(
        space,
        middle.expand(L, -1),
        generator.w_dim**0.5,
        (L, generator.w_dim),
        lambda pn: {"ws": from_pn(pn, axes).expand(-1, generator.num_ws, -1)},
        encode,
        p_norm,
    )


@torch.no_grad()
def s_code(generator: StyleGenerator, statistics: WStatistics, w: Tensor) -> Code:
    """S, around the styles of the mean w. w: (M, D) samples, whose styles tell how wide each channel is."""
    like = next(generator.parameters())

    def encode(ws: Tensor) -> Tensor:
        return generator.style_rows(ws)

    centre = encode(broadcast(statistics.mean[None].to(like), generator.num_ws))[0]
    samples = encode(broadcast(w[:SAMPLES].to(like), generator.num_ws))
    variance = (samples - centre).square().mean(dim=0).clamp(min=1e-8)
    return Code(
        Space.S,
        centre,
        float(variance.sum().sqrt()),
        tuple(centre.shape),
        lambda s: {"styles": s},
        encode,
        lambda s: ((s - centre).square() / variance).mean(dim=1),
    )


@torch.no_grad()
def feature_code(feature: Feature, statistics: WStatistics, w: Tensor, held: bool) -> Code:
    """A map in the place of what a layer makes, and the ws of all layers, those before it held.

    The penalty is how far the map is from what the ws make there: as they do not move, from its start.

    Args:
        w: (M, D) samples, whose features tell how wide the layer is.
        held: whether the ws behind the layer stay what they were at the start too.
    """
    generator, size = feature.generator, feature.shape.numel()
    L, D = generator.num_ws, generator.w_dim
    like, moving = next(generator.parameters()), L if held else feature.behind

    def encode(ws: Tensor) -> Tensor:
        return torch.cat([feature.of(ws).flatten(1), ws.flatten(1)], dim=1)

    def decode(code: Tensor) -> Painted:
        ws = code[:, size:].unflatten(1, (L, D))
        ws = torch.cat([ws[:, :moving].detach(), ws[:, moving:]], dim=1)
        return {"ws": ws, FEATURES + feature.layer: code[:, :size].unflatten(1, feature.shape)}

    def penalty(code: Tensor) -> Tensor:
        with torch.no_grad():
            begun = feature.of(code[:, size:].unflatten(1, (L, D))).flatten(1)
        return (code[:, :size] - begun).square().mean(dim=1) / variance

    centre = encode(broadcast(statistics.mean[None].to(like), L))[0]
    samples = feature.of(broadcast(w[:SAMPLED_MAPS].to(like), L)).flatten(1)
    variance = (samples - centre[:size]).square().mean()
    return Code(Space.FEATURES, centre, 0.0, (size + L * D,), decode, encode, penalty)


def sphere_code(generator: StyleGenerator, w: Tensor) -> Code:
    """PULSE's codes ("PULSE", Menon et al., 2020): W+ on a sphere.

    Each layer has a code of length sqrt(D); scaled by the deviation of each channel of P, and moved by its
    mean, it is p. Searches begin at random; the penalty is GEOCROSS. w: (M, D) samples.
    """
    like = next(generator.parameters())
    p = to_p(w.double())
    mean, std = p.mean(dim=0).to(like), p.std(dim=0).to(like)
    D = generator.w_dim
    return Code(
        Space.P_PLUS,
        None,
        D**0.5,
        (generator.num_ws, D),
        lambda code: {"ws": from_p(code * std + mean)},
        None,
        geocross,
        lambda code: on_sphere(code, D**0.5),
    )


def on_sphere(code: Tensor, radius: Tensor | float) -> Tensor:
    """(..., D) -> the same directions with the length `radius`."""
    return code * (radius / (code.square().sum(dim=-1, keepdim=True) + 1e-9).sqrt())


class CodeBook:
    """The spaces of a generator as codes, each made once: searches that share a code share steps.

    May be used by several threads.
    """

    def __init__(self, generator: Generator, statistics: WStatistics | None) -> None:
        """statistics: None for a family without W."""
        self._generator, self._statistics = generator, statistics
        self._made: dict[tuple[Space, str, int | None], Code] = {}
        self._features: dict[tuple[str, bool, int | None], Code] = {}
        self._lock = threading.RLock()

    @cached_property
    def samples(self) -> Tensor:
        """w (M, D)."""
        assert isinstance(self._generator, StyleGenerator)
        return sample_w(self._generator)

    @cached_property
    def axes(self) -> PStatistics:
        """Of P."""
        with self._lock:
            return p_statistics(self.samples)

    def get(self, space: Space, form: Form = "plain", label: int | None = None) -> Code:
        """
        Args:
            form: `p_norm` has the regulariser of II2S, `sphere` the codes of PULSE.
            label: of a model with classes the one to begin in; z is that of a class.

        Raises:
            ValueError: for a space that the family lacks, and z without the class.
        """
        with self._lock:
            if (key := (space, form, label)) not in self._made:
                self._made[key] = self._make(space, form, label)
            return self._made[key]

    def features(self, layer: str | None = None, held: bool = False, label: int | None = None) -> Code:
        """layer: whose map is sought; left out: one in the middle. label: as for `get`.

        Raises:
            ValueError: for a family without W, and a layer that it has not or whose maps are too large.
        """
        generator = self._generator
        if not isinstance(generator, StyleGenerator):
            raise ValueError(f"the family {generator.family} has no space {Space.FEATURES}")
        with self._lock:
            feature = Feature(generator, layer)
            if (key := (feature.layer, held, label)) not in self._features:
                self._features[key] = feature_code(feature, *self._spread(generator, label), held)
            return self._features[key]

    def _spread(self, generator: StyleGenerator, label: int | None) -> tuple[WStatistics, Tensor]:
        """Moments of W and samples w (M, D): of one class, or of all."""
        if label is None:
            assert self._statistics is not None
            return self._statistics, self.samples
        w = sample_w(generator, SAMPLES, label=label)
        return w_statistics(w), w

    def _make(self, space: Space, form: Form, label: int | None) -> Code:
        generator = self._generator
        if space is Space.Z:
            return z_code(generator, label)
        if space is Space.FEATURES:
            return self.features(label=label)
        if space not in generator.spaces or not isinstance(generator, StyleGenerator):
            raise ValueError(f"the family {generator.family} has no space {space}")
        statistics, w = self._spread(generator, label)
        if form == "sphere":
            return sphere_code(generator, w)
        if space is Space.S:
            return s_code(generator, statistics, w)
        if space is Space.P or space is Space.P_PLUS:
            return p_code(generator, self.axes, space, None if label is None else w)
        if form == "p_norm":
            return w_code(generator, statistics, space, "p_norm", self.axes)
        return w_code(generator, statistics, space)
