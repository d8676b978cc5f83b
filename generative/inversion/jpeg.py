"""Baseline JPEG (ITU-T T.81) as a differentiable function of pictures: what libjpeg-turbo makes of them.

The forward pass takes every rounding of the codec: bytes, YCbCr bytes, its integer DCT (Loeffler,
Ligtenberg and Moschytz, 1989, with constants of 13 bits), coefficients. So it gives the very pictures that
OpenCV and Pillow read back from their own files. The backward pass takes every rounding for the identity
(straight-through; Bengio et al., 2013): what is left is linear, and the identity at 4:4:4.

Axis letters: N batch, C channels, H W pixels, h w blocks.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Rows = tuple[tuple[float, ...], ...]

BLOCK = 8
CONSTANT_BITS, PASS_BITS = 13, 2  # of the DCT's constants; that its first pass keeps behind the point
# T.81, tables K.1 and K.2: steps of the coefficients at quality 50, for luminance and chroma
LUMINANCE_STEPS: Rows = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_STEPS: Rows = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# JFIF, with as many digits as the codec has; it rounds them to 16 bits, and halves of chroma go down
TO_YCBCR: Rows = ((0.299, 0.587, 0.114), (-0.16874, -0.33126, 0.5), (0.5, -0.41869, -0.08131))
TO_YCBCR_OFFSET = (0.0, 128 - 2**-16, 128 - 2**-16)
TO_RGB: Rows = ((1.0, 0.0, 1.402), (1.0, -0.34414, -0.71414), (1.0, 1.772, 0.0))


def jpeg(images: Tensor, quality: int, *, subsampled: bool = True) -> Tensor:
    """(N, 3 or 1, H, W) in [-1, 1] -> the same, written and read back.

    Args:
        quality: 1 to 100, libjpeg's scale.
        subsampled: chroma at half the size (4:2:0, as libjpeg does unless told otherwise), or whole (4:4:4).
    """
    H, W = images.shape[2:]
    levels = _bytes(images.double() * 127.5 + 127.5)  # float64 holds the codec's integers exactly
    if images.shape[1] == 1:
        planes = _through_blocks(levels, LUMINANCE_STEPS, quality)
    else:
        luminance, chroma = _bytes(_mix(levels, TO_YCBCR, TO_YCBCR_OFFSET)).split([1, 2], dim=1)
        luminance = _through_blocks(luminance, LUMINANCE_STEPS, quality)
        if subsampled:
            chroma = _through_blocks(_halved(chroma), CHROMA_STEPS, quality)
            # the decoder knows the size: nothing of what was padded gets into the last pixels
            chroma = _doubled(chroma[:, :, :, : (W + 1) // 2])[:, :, :H, :W]
        else:
            chroma = _through_blocks(chroma, CHROMA_STEPS, quality)
        planes = _bytes(_mix(torch.cat([luminance, chroma - 128], dim=1), TO_RGB))
    return (planes / 127.5 - 1).to(images.dtype)


def _mix(x: Tensor, matrix: Rows, offset: tuple[float, ...] = (0, 0, 0)) -> Tensor:
    """(N, 3, H, W), each pixel times a (3, 3), plus a (3,)."""
    weights = (x.new_tensor(matrix) * 2**16).round() / 2**16
    return torch.einsum("oc,nchw->nohw", weights, x) + x.new_tensor(offset)[:, None, None]


def _steps(table: Rows, quality: int) -> Tensor:
    """(8, 8), the quantisation steps of a quality, as libjpeg scales them."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table, dtype=torch.int64) * percent + 50) // 100).clamp(1, 255)


def _cosines() -> Tensor:
    """(8 frequencies, 8 places) float64: sqrt(8) 2^13 times the orthonormal DCT, in whole numbers.

    They are what the factorised transform amounts to, sums of its rounded constants: not always the nearest
    whole numbers.
    """
    c = [math.sqrt(2) * math.cos(k * math.pi / 16) for k in range(8)]

    def fixed(x: float) -> int:
        return round(x * 2**CONSTANT_BITS)

    one, six = fixed(1), fixed(c[6])
    two, minus_two = six + fixed(c[2] - c[6]), six - fixed(c[2] + c[6])
    even = [  # frequencies 0, 2, 4, 6 at the places 0 to 3; the other half is the mirror image
        [one, one, one, one],
        [two, six, -six, -two],
        [one, -one, -one, one],
        [six, minus_two, -minus_two, -six],
    ]
    s, p, q = fixed(c[3]), fixed(c[3] - c[7]), fixed(c[1] + c[3])
    r, t = fixed(c[3] + c[5]), fixed(c[3] - c[5])
    odd = [  # frequencies 1, 3, 5, 7; the other half is the mirror image times -1
        [s - p - t + fixed(c[1] + c[3] - c[5] - c[7]), s, s - t, s - p],
        [s, s - q - r + fixed(c[1] + c[3] + c[5] - c[7]), s - q, s - r],
        [s - t, s - q, s - q - t + fixed(c[1] + c[3] - c[5] + c[7]), s],
        [s - p, s - r, s, s - p - r + fixed(-c[1] + c[3] + c[5] - c[7])],
    ]
    rows = torch.zeros(BLOCK, BLOCK, dtype=torch.float64)
    rows[0::2, :4], rows[1::2, :4] = torch.tensor(even), torch.tensor(odd)
    rows[0::2, 4:], rows[1::2, 4:] = rows[0::2, :4].flip(1), -rows[1::2, :4].flip(1)
    return rows


def _through_blocks(planes: Tensor, table: Rows, quality: int) -> Tensor:
    """(N, C, H, W) bytes -> what is left of them: DCT of 8x8 blocks, quantisation, and back."""
    N, C, H, W = planes.shape
    planes = F.pad(planes, (0, -W % BLOCK, 0, -H % BLOCK), mode="replicate")
    h, w = planes.shape[2] // BLOCK, planes.shape[3] // BLOCK
    blocks = planes.reshape(N, C, h, BLOCK, w, BLOCK).transpose(3, 4) - 128
    cosines, steps = _cosines().to(planes.device), 8.0 * _steps(table, quality).to(planes.device)
    rows = _descaled(blocks @ cosines.T, CONSTANT_BITS - PASS_BITS)
    coefficients = _descaled(cosines @ rows, CONSTANT_BITS + PASS_BITS)  # times 8
    coefficients = _nearest(coefficients / steps) * steps / 8
    columns = _descaled(cosines.T @ coefficients, CONSTANT_BITS - PASS_BITS)
    blocks = _descaled(columns @ cosines, CONSTANT_BITS + PASS_BITS + 3) + 128
    return blocks.clamp(0, 255).transpose(3, 4).reshape(N, C, BLOCK * h, BLOCK * w)[:, :, :H, :W]


def _halved(x: Tensor) -> Tensor:
    """(N, C, H, W) bytes -> half the size: means of four, where the columns take turns in rounding. The
    encoder pads to whole blocks sideways here, and downwards not before the DCT.
    """
    x = F.pad(x, (0, -x.shape[3] % (2 * BLOCK), 0, x.shape[2] % 2), mode="replicate")
    means = F.avg_pool2d(x, 2)
    turns = 0.25 + 0.25 * (torch.arange(means.shape[3], device=x.device) % 2)
    return _replaced(means, (means + turns).floor())


def _doubled(x: Tensor) -> Tensor:
    """(N, C, H, W) bytes -> (N, C, 2H, 2W): the codec's triangle filter; the columns take turns again."""
    filtered = F.interpolate(x, scale_factor=2.0, mode="bilinear")
    turns = (8 - torch.arange(filtered.shape[3], device=x.device) % 2) / 16
    return _replaced(filtered, (filtered + turns).floor())


def _bytes(x: Tensor) -> Tensor:
    """To whole numbers from 0 to 255. No gradient comes from what is beyond."""
    return _descaled(x, 0).clamp(0, 255)


def _descaled(x: Tensor, bits: int) -> Tensor:
    """To whole numbers, without the last bits; halves go up."""
    x = x / 2**bits
    return _replaced(x, (x + 0.5).floor())


def _nearest(x: Tensor) -> Tensor:
    """To whole numbers, halves away from zero."""
    return _replaced(x, x.sign() * (x.abs() + 0.5).floor())


def _replaced(x: Tensor, value: Tensor) -> Tensor:
    """Straight-through: the value forward, x backward."""
    return value.detach() + (x - x.detach())
