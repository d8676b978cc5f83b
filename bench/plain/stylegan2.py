"""The synthesis of StyleGAN2 as papers' code writes it: every sample's kernel is built, and a grouped
convolution runs them side by side; then noise, bias, leaky ReLU and gain, one after the other. What the
comparison runs.

Axis letters: N batch, I channels in, O channels out, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.networks.stylegan2 import Generator, SynthesisLayer, ToRGB


def synthesis(generator: Generator, styles: dict[str, Tensor], noises: dict[str, Tensor | None]) -> Tensor:
    """Pictures (N, C, R, R) of the `skip` architecture, from styles and noise by layer name."""
    N = len(styles["b4.conv1"])
    x = generator.synthesis.block(4).const.expand(N, -1, -1, -1)
    image = None
    for r in generator.config.resolutions:
        block = generator.synthesis.block(r)
        for name in ("conv0", "conv1")[r == 4 :]:
            x = layer(getattr(block, name), x, styles[f"b{r}.{name}"], noises[f"b{r}.{name}"])
        y = to_rgb(block.torgb, x, styles[f"b{r}.torgb"])
        image = y if image is None else y + filtered(zeros_between(image), block.resample_filter, 2, 1)
    assert image is not None
    return image


def layer(module: SynthesisLayer, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
    """x: (N, I, H, W), style: (N, I) -> (N, O, H', W')."""
    w = module.weight[None] * style[:, None, :, None, None]  # (N, O, I, 3, 3)
    w = w * (w.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    N, O, I = w.shape[:3]
    x = x.reshape(1, N * I, *x.shape[2:])
    if module.up:
        w = w.transpose(1, 2).reshape(N * I, O, 3, 3)
        x = F.conv_transpose2d(x, w, stride=2, groups=N)
        x = filtered(x.reshape(N, O, *x.shape[2:]), module.resample_filter, 1, 1)
    else:
        x = F.conv2d(x, w.reshape(N * O, I, 3, 3), padding=1, groups=N)
        x = x.reshape(N, O, *x.shape[2:])
    if noise is not None:
        x = x + noise * module.noise_strength
    x = x + module.bias.reshape(1, -1, 1, 1)
    return F.leaky_relu(x, 0.2) * 2**0.5


def to_rgb(module: ToRGB, x: Tensor, style: Tensor) -> Tensor:
    """x: (N, I, H, W), style: (N, I) -> (N, C, H, W)."""
    N, I, H, W = x.shape
    w = module.weight[None] * (style * module.weight_gain)[:, None, :, None, None]
    y = F.conv2d(x.reshape(1, N * I, H, W), w.reshape(-1, I, 1, 1), groups=N)
    return y.reshape(N, -1, H, W) + module.bias.reshape(1, -1, 1, 1)


def zeros_between(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), each pixel with zeros after it."""
    N, C, H, W = x.shape
    x = F.pad(x.reshape(N, C, H, 1, W, 1), (0, 1, 0, 0, 0, 1))
    return x.reshape(N, C, 2 * H, 2 * W)


def filtered(x: Tensor, kernel: Tensor, before: int, after: int) -> Tensor:
    """Padded, and filtered channel by channel."""
    C = x.shape[1]
    weight = torch.flip(4 * kernel, (0, 1)).to(x.dtype).expand(C, 1, -1, -1)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=C)
