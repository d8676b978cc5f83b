"""What is exported of a generator: the steps from z to a picture, as modules that can be traced.

| graph | inputs | output |
|---|---|---|
| `mapping` | `z` (N, z_dim), `c` (N, c_dim) with classes, `psi` (N, L) | `ws` (N, L, w_dim), truncated |
| `styles` | `ws` | `styles` (N, S), of all layers, coarse to fine |
| `synthesis_const`, `synthesis_none` | `styles` | `images`, with the stored noise, or with none |
| `synthesis_given` | `styles`, `noise.<layer>` (N, 1, H, W) for every layer with noise | `images` |
| `generator` | `z`, `c`, `psi` (N,) where the family scales z | `images`, of families without W |

Latents and psi are float32 whatever the precision inside is; but the psi of `biggan_deep_hf`, whose decimal
digits choose rows of statistics, is float64.

Weights are constants of the graph and the same for the whole batch: styles scale the input of a convolution,
and its output is demodulated, so that N is free. `images` are bytes (N, H, W, C), rounded on the device, or
floats (N, C, H, W) in about [-1, 1].

Axis letters: N batch, L layers that take a w, S length of all styles, C channels, H W pixels.
"""

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from generative.generator import Generator, Noise, StyleGenerator, sample_z
from generative.networks import biggan_deep_hf, stylegan2
from generative.networks.stylegan2_static import StaticSynthesis, Upsampling
from generative.networks.z_only import ZOnlyGenerator
from generative.pixels import to_uint8

Precision = Literal["fp32", "fp16", "bf16"]
Output = Literal["uint8", "float"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
NOISE = "noise."  # prefix of the names of noise inputs; the layer's name follows


@dataclass(frozen=True)
class Options:
    """How pictures are computed: inner precision, what comes out, and how StyleGAN2 doubles the size."""

    precision: Precision = "fp32"
    output: Output = "uint8"
    upsampling: Upsampling = "transposed"


@dataclass(frozen=True)
class Graph:
    """A module to trace, with the names of its arguments and of its result."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    output: str


class Mapping(nn.Module):
    """z to truncated ws."""

    def __init__(self, generator: StyleGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        *c, psi = rest
        return self.generator.map_truncated(z, c[0] if c else None, psi)


class Styles(nn.Module):
    """ws to the styles of all layers, one after the other."""

    def __init__(self, generator: StyleGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, ws: Tensor) -> Tensor:
        return self.generator.style_rows(ws)


class Pictures(nn.Module):
    """The end of every picture: back to float32, and to bytes if wanted."""

    def __init__(self, generator: Generator, options: Options) -> None:
        super().__init__()
        self.gain, self.offset = generator.pixel_gain, generator.pixel_offset
        self.bytes = options.output == "uint8"

    def forward(self, images: Tensor) -> Tensor:
        images = images.float()
        return to_uint8(images, self.gain, self.offset) if self.bytes else images


class Synthesis(nn.Module):
    """The styles of all layers to a picture: with `noise`, or with noise that is given for every layer."""

    def __init__(self, generator: StyleGenerator, options: Options, noise: Noise, given: bool) -> None:
        super().__init__()
        self.noise, self.dtype, self.lod = noise, DTYPES[options.precision], lod_of(generator)
        self.noisy = tuple(generator.noise_sizes) if given else ()
        self.split = generator.split_styles
        self.network: nn.Module = copy.deepcopy(generator).to(self.dtype)
        self.end = Pictures(generator, options)

    def forward(self, rows: Tensor, *noises: Tensor) -> Tensor:
        return self.end(self.paint(rows, dict(zip(self.noisy, noises, strict=True))))

    def paint(self, rows: Tensor, given: dict[str, Tensor]) -> Tensor:
        """rows: (N, S), given: (N, 1, H, W) by layer -> (N, img_channels, R, R)."""
        assert isinstance(self.network, StyleGenerator)
        noises = {name: noise.to(self.dtype) for name, noise in given.items()}
        styles = self.split(rows.to(self.dtype))
        return self.network.synthesize_styles(styles, self.noise, noises or None, lod=self.lod)


class StaticStyleGAN2(Synthesis):
    """The same of StyleGAN2, rewritten: `generative.networks.stylegan2_static`."""

    def __init__(self, generator: stylegan2.Generator, options: Options, noise: Noise, given: bool) -> None:
        super().__init__(generator, options, noise, given)
        self.network = StaticSynthesis(generator, self.dtype, options.upsampling)
        self.stored = stored_noise(generator, noise)

    def paint(self, rows: Tensor, given: dict[str, Tensor]) -> Tensor:
        images: Tensor = self.network(self.split(rows), self.stored | given)
        return images


def stored_noise(generator: stylegan2.Generator, noise: Noise) -> dict[str, Tensor]:
    """The maps (1, 1, H, W) that `noise` means, by layer."""
    drawn = generator.draw_noises(noise, None, generator.stored_noise(), 1, None)
    return {name: value for name, value in drawn.items() if value is not None}


class Whole(nn.Module):
    """z, a class where there are some, psi where it scales z, to a picture: a family without W."""

    def __init__(self, generator: Generator, options: Options) -> None:
        super().__init__()
        self.dtype = DTYPES[options.precision]
        self.generator = copy.deepcopy(generator).to(self.dtype)
        self.scaled, self.classes = generator.psi_acts_on == "z", bool(generator.c_dim)
        self.lod = lod_of(generator)
        self.end = Pictures(generator, options)

    def forward(self, z: Tensor, *rest: Tensor) -> Tensor:
        c = rest[0].to(self.dtype) if self.classes else None
        if isinstance(self.generator, biggan_deep_hf.Generator):
            return self._by_rows(z, c, rest[-1])
        if self.scaled:
            z = self._truncated(z, rest[-1])
        return self.end(self.generator(z.to(self.dtype), c, lod=self.lod))

    def _by_rows(self, z: Tensor, c: Tensor | None, psi: Tensor) -> Tensor:
        """psi is float64: its decimal digits choose the rows of statistics."""
        assert isinstance(self.generator, biggan_deep_hf.Generator) and c is not None
        z = (z * psi.float()[:, None]).to(self.dtype)
        rows = biggan_deep_hf.rows_of(psi, self.generator.config.n_stats)
        return self.end(self.generator.paint(z, c, rows))

    def _truncated(self, z: Tensor, psi: Tensor) -> Tensor:
        if isinstance(self.generator, ZOnlyGenerator):
            return self.generator.truncate(z, psi)
        return z * psi[:, None]


def lod_of(generator: Generator) -> float | None:
    """How far the checkpoint had grown: a number in the graph. None for networks that do not grow."""
    grown = [value for name, value in generator.named_buffers() if name.rsplit(".")[-1] == "lod"]
    return float(grown[0]) if grown else None


def graphs(generator: Generator, options: Options) -> list[Graph]:
    """All that there is to export."""
    c = ("c",) if generator.c_dim else ()
    if not isinstance(generator, StyleGenerator):
        psi = ("psi",) if generator.psi_acts_on == "z" else ()
        return [Graph("generator", Whole(generator, options), ("z", *c, *psi), "images")]
    noisy = tuple(NOISE + name for name in generator.noise_sizes)
    found = [
        Graph("mapping", Mapping(generator), ("z", *c, "psi"), "ws"),
        Graph("styles", Styles(generator), ("ws",), "styles"),
    ]
    modes: tuple[Noise, ...] = ("const", "none") if noisy else ("none",)
    for noise in modes:
        module = _synthesis(generator, options, noise, given=False)
        found.append(Graph(f"synthesis_{noise}", module, ("styles",), "images"))
    if noisy:
        module = _synthesis(generator, options, "none", given=True)
        found.append(Graph("synthesis_given", module, ("styles", *noisy), "images"))
    return found


def _synthesis(generator: StyleGenerator, options: Options, noise: Noise, *, given: bool) -> Synthesis:
    if isinstance(generator, stylegan2.Generator):
        return StaticStyleGAN2(generator, options, noise, given)
    return Synthesis(generator, options, noise, given)


def example(generator: Generator, graph: Graph, N: int, seed: int = 0) -> dict[str, Tensor]:
    """Inputs that are as those of real work: latents of drawn z, classes in turn, psi from 0.5 to 1."""
    z = sample_z(range(seed, seed + N), generator)
    c = torch.eye(generator.c_dim)[torch.arange(N) % generator.c_dim] if generator.c_dim else None
    given: dict[str, Tensor] = {"z": z}
    if c is not None:
        given["c"] = c
    psi = torch.linspace(0.5, 1, N)
    if isinstance(generator, StyleGenerator):
        given["psi"] = psi[:, None].expand(-1, generator.num_ws).contiguous()
        given["ws"] = generator.map_truncated(z, c, given["psi"])
        given["styles"] = generator.style_rows(given["ws"])
        rng = torch.Generator().manual_seed(seed)
        for name, side in generator.noise_sizes.items():
            given[NOISE + name] = torch.randn(N, 1, side, side, generator=rng)
    else:
        given["psi"] = psi.double() if isinstance(generator, biggan_deep_hf.Generator) else psi
    return {name: given[name] for name in graph.inputs}
