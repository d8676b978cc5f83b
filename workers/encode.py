"""Pixels to files: PNG, JPEG, WebP, NPZ, grids and films, each carrying its provenance.

OpenCV writes the pictures, several times faster than Pillow's default (bench/encode.py). Equal pixels and
text give equal bytes. Pixels are uint8 (H, W, 3) in RGB order unless a docstring says otherwise.
"""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.images import Pixels, scale
from workers.provenance import exif_with_text, png_with_text, xmp_with_text

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "npz": "application/x-npz",
    "mp4": "video/mp4",
    "safetensors": "application/octet-stream",
    "md": "text/markdown",
    "json": "application/json",
    "jsonl": "application/jsonl",
}
SUFFIXES = {"png": "png", "jpeg": "jpg", "webp": "webp", "npz": "npz", "mp4": "mp4"}
FPS = 30
GRID_GAP = 2  # pixels of background between tiles
GRID_LIMIT = 4096  # longest side of a grid; tiles are made smaller to fit
BACKGROUND = 18


def picture(pixels: Pixels, format: str, quality: int, text: str) -> bytes:
    """One file in `format`: png, jpeg or webp. `quality`, 1 to 100, is for the last two."""
    if format == "png":
        return png(pixels, text)
    return jpeg(pixels, quality, text) if format == "jpeg" else webp(pixels, quality, text)


def png(pixels: Pixels, text: str) -> bytes:
    ok, encoded = cv2.imencode(".png", _bgr(pixels))
    return png_with_text(_checked(ok, encoded), text)


def jpeg(pixels: Pixels, quality: int, text: str) -> bytes:
    return _with_metadata(
        ".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality], cv2.IMAGE_METADATA_EXIF, exif_with_text(text)
    )


def webp(pixels: Pixels, quality: int, text: str) -> bytes:
    """Lossy below quality 100, lossless at 100."""
    level = 101 if quality == 100 else quality  # OpenCV's way to say lossless
    return _with_metadata(
        ".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, level], cv2.IMAGE_METADATA_XMP, xmp_with_text(text)
    )


def npz(arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Named arrays, deflated."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


class Collage:
    """A picture of pictures, filled in any order; tiles shrink so that no side passes `GRID_LIMIT`."""

    def __init__(self, rows: int, columns: int, height: int, width: int) -> None:
        self.columns = columns
        room = [(GRID_LIMIT + GRID_GAP) / count - GRID_GAP for count in (rows, columns)]
        ratio = min(1.0, room[0] / height, room[1] / width)
        self.height, self.width = max(1, int(height * ratio)), max(1, int(width * ratio))
        shape = (rows * (self.height + GRID_GAP) - GRID_GAP, columns * (self.width + GRID_GAP) - GRID_GAP, 3)
        self.pixels: Pixels = np.full(shape, BACKGROUND, np.uint8)

    @classmethod
    def squarish(cls, count: int, height: int, width: int) -> "Collage":
        """As many columns as rows, or one more."""
        columns = math.ceil(math.sqrt(count))
        return cls(math.ceil(count / columns), columns, height, width)

    def place(self, index: int, tile: Pixels) -> None:
        """Put (H, W, 3) at cell `index`, counted along rows."""
        top = index // self.columns * (self.height + GRID_GAP)
        left = index % self.columns * (self.width + GRID_GAP)
        self.pixels[top : top + self.height, left : left + self.width] = scale(tile, self.height, self.width)


def strip(tiles: Sequence[Pixels]) -> Pixels:
    """Tiles of one size side by side."""
    collage = Collage(1, len(tiles), *tiles[0].shape[:2])
    for index, tile in enumerate(tiles):
        collage.place(index, tile)
    return collage.pixels


class Film(Protocol):
    """Takes frames (H, W, 3) of one size in order, gives the file at the end."""

    def add(self, frame: Pixels) -> None: ...

    def finish(self) -> bytes: ...


class Mp4Film:
    """H.264 in MP4. Odd sides, which the format cannot have, are made even by repeating the last pixels."""

    def __init__(self, text: str, quality: int = 90) -> None:
        self._file = io.BytesIO()
        self._container = av.open(self._file, "w", format="mp4")
        self._container.metadata["comment"] = text
        self._stream = self._container.add_stream("libx264", rate=FPS)
        self._stream.pix_fmt = "yuv420p"
        # quality 1..100 to a constant rate factor of 40..14; one thread and bit exact, so that bytes repeat
        crf = round(40 - 26 * (quality - 1) / 99)
        self._stream.options = {"crf": str(crf), "preset": "medium", "threads": "1", "flags": "+bitexact"}

    def add(self, frame: Pixels) -> None:
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if not self._stream.codec_context.is_open:
            self._stream.height, self._stream.width = even.shape[:2]
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._file.getvalue()


class WebpFilm:
    """Animated WebP that repeats for ever."""

    def __init__(self, text: str, quality: int = 90) -> None:
        self._text, self._quality = text, quality
        self._frames: list[Image.Image] = []

    def add(self, frame: Pixels) -> None:
        self._frames.append(Image.fromarray(frame))

    def finish(self) -> bytes:
        out = io.BytesIO()
        self._frames[0].save(
            out,
            "WEBP",
            save_all=True,
            append_images=self._frames[1:],
            duration=round(1000 / FPS),
            loop=0,
            quality=self._quality,
            method=2,
            minimize_size=False,
            allow_mixed=False,
            xmp=xmp_with_text(self._text),
        )
        return out.getvalue()


def film(format: str, text: str, quality: int) -> Film:
    return Mp4Film(text, quality) if format == "mp4" else WebpFilm(text, quality)


def _bgr(pixels: Pixels) -> Pixels:
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)


def _with_metadata(suffix: str, pixels: Pixels, params: list[int], kind: int, block: bytes) -> bytes:
    ok, encoded = cv2.imencodeWithMetadata(
        suffix, _bgr(pixels), [kind], [np.frombuffer(block, np.uint8)], params
    )
    return _checked(ok, encoded)


def _checked(ok: bool, encoded: NDArray[np.uint8]) -> bytes:
    if not ok:
        raise RuntimeError("OpenCV could not encode the picture")
    return encoded.tobytes()
