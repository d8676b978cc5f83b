"""Time to encode one picture in each format, ours against Pillow's defaults, one thread, in one run.

Aim: PNG at least 3 times as fast as Pillow's default, so that encoding does not hold a generator back.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from workers import encode
from workers.images import Pixels
from workers.provenance import provenance, to_text

TEXT = to_text(provenance("generate", "portraits", "0" * 64, {"psi": 0.7}, seed=0))
Encoder = Callable[[Pixels], bytes]


def natural_noise(side: int, seed: int = 0) -> Pixels:
    """(side, side, 3) whose spectrum falls as 1/f, like that of photographs."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    f[0, 0] = np.inf
    planes = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / f) for _ in range(3)]
    x = np.stack(planes, axis=-1)
    return np.clip(127 + 50 * x / x.std(), 0, 255).astype(np.uint8)


def pillow(format: str, **options: object) -> Encoder:
    def encoded(pixels: Pixels) -> bytes:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, format, **options)  # type: ignore[arg-type]
        return out.getvalue()

    return encoded


def ours(format: str, quality: int = 90) -> Encoder:
    return lambda pixels: encode.picture(pixels, format, quality, TEXT)


PAIRS: dict[str, tuple[Encoder, Encoder]] = {
    "png": (ours("png"), pillow("PNG")),
    "jpeg 90": (ours("jpeg"), pillow("JPEG", quality=90)),
    "webp 90": (ours("webp"), pillow("WEBP", quality=90)),
    "webp lossless": (ours("webp", 100), pillow("WEBP", lossless=True)),
    "npz": (lambda pixels: encode.npz({"images": pixels[None]}), lambda pixels: pixels.tobytes()),
}


def median_ms(encoder: Encoder, pixels: Pixels, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        encoder(pixels)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pixels = natural_noise(options.side)
    table = Table(
        title=f"Encoding {options.side}x{options.side}x3, 1/f noise, one thread, median of {options.repeats}"
    )
    for column in ("format", "ours ms", "ours MB", "Pillow ms", "Pillow MB", "ratio"):
        table.add_column(column, justify="left" if column == "format" else "right")
    for name, (mine, theirs) in PAIRS.items():
        a, b = (median_ms(encoder, pixels, options.repeats) for encoder in (mine, theirs))
        sizes = [f"{len(encoder(pixels)) / 1e6:.2f}" for encoder in (mine, theirs)]
        if name == "npz":  # Pillow has none: raw bytes, for the size only
            table.add_row(name, f"{a:.1f}", sizes[0], "", f"{sizes[1]} raw", "")
        else:
            table.add_row(name, f"{a:.1f}", sizes[0], f"{b:.1f}", sizes[1], f"{b / a:.1f} x")
    Console().print(table)


if __name__ == "__main__":
    main()
