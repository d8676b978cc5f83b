"""Upsampling by two as one plain convolution: its kernel makes the four pixels of every 2x2 square as four
channels, which `pixel_shuffle` then puts in their places.

What the transposed convolution of an up-sampling layer of StyleGAN2 and the filter after it do together is a
transposed convolution with a 6x6 kernel, of whose taps every output pixel sees 3x3: those of its phase.

Axis letters: I channels in, O channels out, k taps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def polyphase_kernel(weight: Tensor, resample_filter: Tensor) -> Tensor:
    """weight: (O, I, 3, 3), resample_filter: (4, 4) that sums to 1 -> (4 O, I, 3, 3), for padding 1.

    `pixel_shuffle(conv2d(x, it, padding=1), 2)` is `conv_transpose2d` by stride 2 with the weight, filtered
    by four times the filter with padding 1.
    """
    O, I = weight.shape[:2]
    taps = (4 * resample_filter).to(weight.dtype)
    flat = weight.reshape(O * I, 1, 3, 3)
    both = F.conv2d(F.pad(flat, (3, 3, 3, 3)), taps.flip((0, 1))[None, None])  # (O I, 1, 6, 6), convolved
    # Output pixel 2 h + p sums x[h'] both[2 h + p + 2 - 2 h']; a tap sees h' = h + tap - 1.
    rows = [[p + 4 - 2 * tap for tap in range(3)] for p in range(2)]
    phases = [both[:, 0][:, rows[p]][:, :, rows[q]] for p in range(2) for q in range(2)]
    return torch.stack(phases).reshape(4, O, I, 3, 3).transpose(0, 1).reshape(4 * O, I, 3, 3)
