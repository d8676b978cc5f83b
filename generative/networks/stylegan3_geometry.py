"""What each layer of StyleGAN3 does to the sampling grid: section 3.2 of "Alias-Free Generative Adversarial
Networks" (Karras et al., 2021).

A feature map is a continuous signal that is sampled on the picture and a margin around it. From layer to
layer its cutoff frequency grows by one factor, and the sampling rate follows in powers of two. Frequencies
are in cycles by the side of the picture. Agrees with NVlabs/stylegan3, whose arguments the fields of the
configuration are.
"""

import math
from dataclasses import dataclass

from generative.networks.limits import (
    MAX_RESOLUTION,
    MAX_WIDTH,
    check_layers,
    check_resolution,
    check_widths,
)


@dataclass(frozen=True)
class StyleGAN3Config:
    """What the weights do not say. The defaults make the translation-equivariant network (t); the rotation-
    equivariant one (r) has `conv_kernel` 1, radial filters, and twice the channels.
    """

    img_resolution: int
    img_channels: int = 3
    z_dim: int = 512
    c_dim: int = 0
    w_dim: int = 512
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    num_layers: int = 14  # without the one that makes RGB
    num_critical: int = 2  # layers at the end whose filters cut at half the sampling rate
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3  # by the last cutoff
    margin_size: int = 10  # pixels around the picture, of each layer's grid
    output_scale: float = 0.25
    conv_kernel: int = 3
    filter_size: int = 6  # taps for each factor of resampling
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256.0

    def __post_init__(self) -> None:
        check_resolution(self.img_resolution)
        check_widths(z_dim=self.z_dim, w_dim=self.w_dim)
        check_widths(img_channels=self.img_channels, channel_max=self.channel_max)
        check_layers(self.mapping_layers)
        check_layers(self.num_layers)
        possible = (
            0 <= self.c_dim <= MAX_WIDTH
            and 0 < self.mapping_lr_multiplier <= 1000
            and self.img_resolution <= self.channel_base <= MAX_WIDTH * MAX_RESOLUTION
            and 1 <= self.num_critical < self.num_layers
            and 1 <= self.first_cutoff < self.first_stopband <= self.img_resolution
            and self.first_cutoff < self.img_resolution / 2
            and 1 <= self.last_stopband_rel <= 2
            and 0 <= self.margin_size <= 100
            and 0 < self.output_scale <= 1000
            and 1 <= self.conv_kernel <= 7
            and 1 <= self.filter_size <= 64
            and self.lrelu_upsampling in (1, 2, 4)
            and (self.conv_clamp is None or 0 < self.conv_clamp <= 1e9)
        )
        if not possible:
            raise ValueError("a size or factor in the configuration that no network has")


@dataclass(frozen=True)
class Band:
    """The signal that a layer puts out, and the grid on which it is sampled."""

    cutoff: float
    half_width: float  # of the transition band of the filter
    rate: int  # samples by side of the picture
    size: int  # samples by side, with the margin


@dataclass(frozen=True)
class Layer:
    """One layer: what comes in, what goes out, and how it is resampled on the way."""

    name: str  # `L3_36_24`: index, size and channels of the output
    inputs: int  # channels
    outputs: int
    before: Band
    after: Band
    kernel: int  # of the convolution, which has padding kernel - 1
    up: int  # from the rate of the input to that of the nonlinearity
    down: int  # from there to that of the output
    up_taps: int
    down_taps: int
    radial: bool  # whether the filter after the nonlinearity is

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """Left, right, top, bottom, on the upsampled grid: so much that the output has its size."""
        wanted = (self.after.size - 1) * self.down + self.up_taps + self.down_taps - 1
        total = wanted - (self.before.size + self.kernel - 1) * self.up
        low = (total + self.up) // 2  # keeps the samples in place for even factors
        return low, total - low, low, total - low


def bands(config: StyleGAN3Config) -> tuple[Band, ...]:
    """The signal after every layer, the one that makes RGB too. The first is also what the input is."""
    half = config.img_resolution / 2
    growing = config.num_layers - config.num_critical
    found = []
    for i in range(config.num_layers + 1):
        t = min(i / growing, 1)
        cutoff = config.first_cutoff * (half / config.first_cutoff) ** t
        last_stopband = half * config.last_stopband_rel
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** t
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, config.img_resolution)))
        size = rate + 2 * config.margin_size if i < config.num_layers - 1 else config.img_resolution
        found.append(Band(cutoff, max(stopband, rate / 2) - cutoff, rate, size))
    return tuple(found)


def layers(config: StyleGAN3Config) -> tuple[Layer, ...]:
    """Coarse to fine, the one that makes RGB last."""
    signals = bands(config)
    widths = [round(min(config.channel_base / 2 / s.cutoff, config.channel_max)) for s in signals]
    widths[-1] = config.img_channels
    return tuple(
        _layer(config, i, signals[max(i - 1, 0)], signals[i], widths[max(i - 1, 0)], widths[i])
        for i in range(config.num_layers + 1)
    )


def _layer(config: StyleGAN3Config, i: int, before: Band, after: Band, inputs: int, outputs: int) -> Layer:
    to_rgb = i == config.num_layers  # a linear layer: it needs no finer grid
    fine = after.rate * (1 if to_rgb else config.lrelu_upsampling)
    up, down = fine // before.rate, fine // after.rate
    return Layer(
        name=f"L{i}_{after.size}_{outputs}",
        inputs=inputs,
        outputs=outputs,
        before=before,
        after=after,
        kernel=1 if to_rgb else config.conv_kernel,
        up=up,
        down=down,
        up_taps=config.filter_size * up if up > 1 else 1,
        down_taps=config.filter_size * down if down > 1 else 1,
        radial=config.use_radial_filters and i < config.num_layers - config.num_critical,
    )
