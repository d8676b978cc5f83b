"""Edits that follow attributes: "StyleFlow: Attribute-conditioned Exploration of StyleGAN-Generated Images
using Conditional Continuous Normalizing Flows" (Abdal, Zhu, Mitra & Wonka, 2021).

Agrees with `module/` of RameenAbdal/StyleFlow: a normalisation, a flow whose speed depends on time and on 17
attributes, and another normalisation take w to z, and back. An edit goes to z with the attributes that a
picture has, and back with those that are wanted.

The official code carries along a noisy estimate of the divergence, whose error steers its solver: it gives
another w every time, by up to 2.5e-4. An edit does not need the divergence, and here it is left out.

Nor do errors choose the steps: `STEPS` of one length do for every row the same work, whatever is beside it.
Edits by a flow of eight attributes of the shipped portraits (w deviates by 1.03) are then within 5e-6 of the
true solution, and 3e-5 for values as far again beyond their range; with steps chosen for errors of 1e-5, as
the official code does, 2.4e-4 in nine tenths of the time.

Axis letters: N pictures, L layers, D w_dim, A attributes.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from generative.discovery.dormand_prince import Slope, integrate, integrate_evenly
from generative.networks.limits import check_layers, check_widths

LIGHT = slice(0, 9)  # of the attributes: second-order spherical harmonics
LIGHT_LAYERS = (7, 8, 9, 10, 11)
STEPS = 8  # of the way of a latent
_EXACT = 1e-9
_EPSILON = 1e-4
#: where official files keep the parts of a flow
_PLACES = {
    "chain.0.": "before.",
    "chain.2.": "after.",
    "chain.1.odefunc.diffeq.": "flow.speed.",
    "chain.1.": "flow.",
}


@dataclass(frozen=True)
class Attribute:
    """One number of the attributes, and how the official program edits it."""

    index: int
    degree: float  # by which it exaggerates changes
    range: tuple[float, float]
    layers: tuple[int, ...]  # of W+ that change, the others stay


ATTRIBUTES: Mapping[str, Attribute] = {
    "gender": Attribute(9, 1.5, (0, 1), tuple(range(8))),
    "glasses": Attribute(10, 2.5, (0, 1), (2, 3)),
    "yaw": Attribute(11, 1.0, (-20, 20), (0, 1, 2, 3)),
    "pitch": Attribute(12, 1.0, (-20, 20), (0, 1, 2, 3)),
    "baldness": Attribute(13, 2.0, (0, 1), (0, 1, 2, 3, 4, 5)),
    "beard": Attribute(14, 1.7, (0, 1), (5, 6, 7, 8, 9)),
    "age": Attribute(15, 0.93, (0, 65), (4, 5, 6, 7)),
    "expression": Attribute(16, 1.0, (0, 1), (4, 5)),
}


@dataclass(frozen=True)
class StyleFlowConfig:
    """Widths. The published flows have a w_dim of 512, 17 attributes and five hidden layers of 512."""

    w_dim: int = 512
    attributes: int = 17
    hidden: tuple[int, ...] = (512,) * 5

    def __post_init__(self) -> None:
        check_layers(len(self.hidden))
        check_widths(w_dim=self.w_dim, attributes=self.attributes, hidden=max(self.hidden))
        check_widths(hidden=min(self.hidden))


class MovingNorm(nn.Module):
    """Batch normalisation by the statistics of training, with a gain that is stored as its logarithm."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def log_gain(self) -> Tensor:
        """(D,)"""
        return self.weight - (self.running_var + _EPSILON).log() / 2

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.running_mean) * self.log_gain().exp() + self.bias

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.bias) * (-self.log_gain()).exp() + self.running_mean


class ConcatSquash(nn.Module):
    """A linear layer whose outputs are gated and shifted by time and attributes."""

    def __init__(self, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        self._layer = nn.Linear(inputs, outputs)
        self._hyper_bias = nn.Linear(context, outputs, bias=False)
        self._hyper_gate = nn.Linear(context, outputs)

    def forward(self, context: Tensor, x: Tensor) -> Tensor:
        return self._layer(x) * self._hyper_gate(context).sigmoid() + self._hyper_bias(context)


class Speed(nn.Module):
    """dx/dt."""

    def __init__(self, config: StyleFlowConfig) -> None:
        super().__init__()
        widths = (config.w_dim, *config.hidden, config.w_dim)
        self.layers = nn.ModuleList(ConcatSquash(i, o, 1 + config.attributes) for i, o in pairwise(widths))

    def forward(self, attributes: Tensor, t: Tensor, x: Tensor) -> Tensor:
        """(R, A), (R,), (R, D) -> (R, D)."""
        context = torch.cat([t[:, None], attributes], dim=1)
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(context, x).tanh()
        return last(context, x)


class ContinuousFlow(nn.Module):
    """The speed of latents, and the square root of the time that they travel, which is learned."""

    def __init__(self, config: StyleFlowConfig) -> None:
        super().__init__()
        self.sqrt_end_time = nn.Parameter(torch.ones(()))
        self.speed = Speed(config)


class Flow(nn.Module):
    """w <-> z for given attributes. Latents are (N, L, D), attributes (N, A).

    tolerance: for steps that are chosen by their error; None for `STEPS` even ones.
    """

    def __init__(self, config: StyleFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.before, self.after = MovingNorm(config.w_dim), MovingNorm(config.w_dim)
        self.flow = ContinuousFlow(config)

    def forward(self, ws: Tensor, attributes: Tensor, tolerance: float | None = None) -> Tensor:
        """w -> z, of the same shape."""
        return self._travel(ws, self._slope(ws, attributes), False, tolerance)

    def inverse(self, zs: Tensor, attributes: Tensor, tolerance: float | None = None) -> Tensor:
        """z -> w, of the same shape."""
        return self._travel(zs, self._slope(zs, attributes), True, tolerance)

    def with_density(
        self,
        latents: Tensor,
        attributes: Tensor,
        signs: Tensor,
        backwards: bool = False,
        tolerance: float | None = None,
    ) -> tuple[Tensor, Tensor]:
        """w -> z, or backwards, and what the way adds to the logarithm of the density, (N, L).

        The divergence is estimated as in Hutchinson's trace, along `signs` (N, L, D) of -1 and 1.
        """
        slope = _with_divergence(self._slope(latents, attributes), signs.flatten(0, 1))
        moved = self._travel(functional.pad(latents, (0, 1)), slope, backwards, tolerance)
        gain = self.before.log_gain().sum() + self.after.log_gain().sum()
        return moved[..., :-1], (gain if backwards else -gain) - moved[..., -1]

    def _slope(self, latents: Tensor, attributes: Tensor) -> Slope:
        """Of a row for each layer of each picture."""
        return partial(self.flow.speed, attributes.repeat_interleave(latents.shape[1], dim=0))

    def _travel(self, x: Tensor, slope: Slope, backwards: bool, tolerance: float | None) -> Tensor:
        """x: (N, L, D + more), of which the first D are normalised."""
        D, end = self.config.w_dim, float(self.flow.sqrt_end_time) ** 2
        enter, leave = (self.after.inverse, self.before.inverse) if backwards else (self.before, self.after)
        state = torch.cat([enter(x[..., :D]), x[..., D:]], dim=-1).flatten(0, 1)
        way = (end, 0.0) if backwards else (0.0, end)
        if tolerance is None:
            moved = integrate_evenly(slope, state, *way, STEPS).view_as(x)
        else:
            moved = integrate(slope, state, *way, tolerance).view_as(x)
        return torch.cat([leave(moved[..., :D]), moved[..., D:]], dim=-1)


def _with_divergence(slope: Slope, signs: Tensor) -> Slope:
    """The slope of states (R, D + 1), whose last number integrates the divergence along signs (R, D)."""

    def extended(t: Tensor, state: Tensor) -> Tensor:
        with torch.enable_grad():
            x = state[:, :-1].detach().requires_grad_()
            value = slope(t, x)
            [along] = torch.autograd.grad((value * signs).sum(), x)
        return torch.cat([value.detach(), (along * signs).sum(dim=1, keepdim=True)], dim=1)

    return extended


def edit(flow: Flow, ws: Tensor, current: Tensor, wanted: Tensor, layers: Sequence[int]) -> Tensor:
    """The latents of pictures with other attributes. For the next edit, `wanted` is what is current.

    ws: (N, L, D); current, wanted: (N, A); layers: those of W+ that change.
    """
    changed = flow.inverse(flow(ws, current), wanted)
    chosen = list(layers)
    edited = ws.clone()
    edited[:, chosen] = changed[:, chosen]
    return edited


def error_of_steps(flow: Flow, ws: Tensor, current: Tensor, wanted: Tensor) -> float:
    """The largest difference between an edit of all layers and its true solution, found in float64."""
    exact, layers = copy.deepcopy(flow).double(), range(ws.shape[1])
    z = exact(ws.double(), current.double(), _EXACT)
    truth = exact.inverse(z, wanted.double(), _EXACT)
    return float((edit(flow, ws, current, wanted, layers) - truth).abs().max())


def wanted_attributes(current: Tensor, name: str, value: float) -> Tensor:
    """The attributes (N, A) to ask for, to bring one of `ATTRIBUTES` to a value in its range."""
    attribute = ATTRIBUTES[name]
    wanted = current.clone()
    wanted[:, attribute.index] += attribute.degree * (value - current[:, attribute.index])
    return wanted


def flow_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of an official file under our names, without its counters of steps."""
    counters = ("chain.0.step", "chain.2.step", "chain.1.odefunc._num_evals")
    ours = {}
    for key, value in state.items():
        name = key
        for theirs, our in _PLACES.items():
            name = our + name.removeprefix(theirs) if name.startswith(theirs) else name
        if key not in counters:
            ours[name] = value
    return ours
