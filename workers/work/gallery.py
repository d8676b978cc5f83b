"""Puts a job's pictures out as the caller asked: one file each or one array, in the size asked for."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from jobs.errors import LimitExceeded
from jobs.schemas import OutputOptions
from workers import encode
from workers.images import Pixels, resize
from workers.job import RunningJob
from workers.metrics import IMAGES
from workers.provenance import to_text

ARRAY_LIMIT = 2**30  # bytes of pixels in one array


class Gallery:
    """Pictures named `<stem>_0000.png`, ..., counted from 0 in the order of `hang`."""

    def __init__(self, job: RunningJob[Any], stem: str) -> None:
        self._outbox, self._output, self._stem, self._kind = job.outbox, job.request.output, stem, job.kind
        self._array: list[Pixels] = []
        self._abouts: list[Mapping[str, Any]] = []
        self._bytes = 0

    def hang(self, pixels: Pixels, about: Mapping[str, Any], *, role: str = "image") -> None:
        """Put one picture (H, W, 3) out; `about` is its provenance."""
        index, output = len(self._abouts), self._output
        self._abouts.append(about)
        IMAGES.labels(self._kind).inc()
        if output.format == "npz":
            self._keep(pixels)
            return

        def encoded() -> bytes:
            return encode.picture(sized(pixels, output), output.format, output.quality, to_text(about))

        self._outbox.put(
            f"{self._stem}_{index:04d}.{encode.SUFFIXES[output.format]}",
            encoded,
            role=role,
            media_type=encode.MEDIA_TYPES[output.format],
            index=index,
            about=brief(about),
        )

    def close(self) -> None:
        """Put the array out, where one was asked for."""
        if not self._array:
            return
        arrays = {"images": np.stack(self._array), "provenance": np.array([to_text(a) for a in self._abouts])}
        self._outbox.put(
            f"{self._stem}s.npz",
            partial(encode.npz, arrays),
            role="array",
            media_type=encode.MEDIA_TYPES["npz"],
            about={"count": len(self._array)},
        )

    def _keep(self, pixels: Pixels) -> None:
        self._array.append(sized(pixels, self._output))
        self._bytes += self._array[-1].nbytes
        if self._bytes > ARRAY_LIMIT:
            raise LimitExceeded(
                f"an npz file holds at most {ARRAY_LIMIT} bytes of pixels: ask for fewer or smaller"
            )


def sized(pixels: Pixels, output: OutputOptions) -> Pixels:
    """(H, W, 3) in the size that the caller asked for."""
    return pixels if output.size is None else resize(pixels, output.size)


def put_png(
    job: RunningJob[Any], name: str, pixels: Pixels, about: Mapping[str, Any], *, role: str, index: int = 0
) -> None:
    """One more picture beside the gallery's: a grid, a strip, an original. Always PNG."""
    job.outbox.put(
        name, partial(encode.png, pixels, to_text(about)), role=role, index=index,
        media_type=encode.MEDIA_TYPES["png"], about=brief(about),
    )  # fmt: skip


def brief(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the job's answer says of a picture: its own part, without what all share or what may be long."""
    shared = ("version", "kind", "model", "model_sha256", "input", "sources")
    own: dict[str, Any] = json.loads(to_text({name: v for name, v in about.items() if name not in shared}))
    return own
