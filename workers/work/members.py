"""What a sample is in a tar: its pictures, masks, latents, and a JSON text that tells of them.

Nothing in it tells of shards, workers or attempts.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import orjson
from numpy.typing import NDArray

from jobs.evaluation import EditStep
from jobs.factors import CATEGORICAL
from jobs.schemas import DatasetRequest
from workers import encode
from workers.images import Pixels
from workers.models import LoadedModel
from workers.provenance import provenance, to_text
from workers.work.gallery import sized
from workers.work.sampling import Sample
from workers.work.sources import truncation_words


@dataclass(frozen=True)
class Painted:
    """One picture of a sample: (H, W, 3), what was read in it, its parts (H, W)."""

    pixels: Pixels
    factors: Mapping[str, float]
    parts: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Record:
    """A sample with its pictures, by variant."""

    sample: Sample
    pictures: dict[str, Painted] = field(default_factory=dict)
    latents: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A sample as it goes into a tar: files by what follows its key, and a row for each picture."""

    key: str
    split: str
    files: Mapping[str, bytes]
    rows: Sequence[Mapping[str, Any]]
    sample: Sample


def attributes(factors: Mapping[str, float]) -> dict[str, Any]:
    """Readings as they are told: a number to four places (a probability for a binary factor), or a name."""
    return {
        name: CATEGORICAL[name][round(value)] if name in CATEGORICAL else round(value, 4)
        for name, value in factors.items()
    }


class Encoder:
    """Turns records of one dataset into members. `encode` may be called from any thread."""

    def __init__(self, model: LoadedModel, request: DatasetRequest) -> None:
        self._model, self._given, self._output = model, request.input, request.output
        self._suffix = encode.SUFFIXES[request.output.format]

    @cached_property
    def _shared(self) -> dict[str, Any]:
        words = {*truncation_words(self._model), "noise", "noise_seed"}
        return self._given.model_dump(mode="json", include=words)

    def encode(self, records: Sequence[Record]) -> list[Made]:
        return [self._encode(record) for record in records]

    def _encode(self, record: Record) -> Made:
        sample, files, rows = record.sample, {}, []
        split = self._given.split_of(sample.i)
        share = sample.share and sample.share.name
        shared = {"index": sample.i, "seed": sample.seed, "split": split, "share": share}
        shared |= {"tries": sample.tries, "met": sample.met}
        told: dict[str, Any] = {}
        for variant, painted in record.pictures.items():
            name = f"{variant}.{self._suffix}".lstrip(".")
            body = files[name] = self._picture(sample, variant, painted)
            if painted.parts is not None:
                files[f"{variant}.mask.png".lstrip(".")] = _mask(painted.parts, painted.pixels, self._side)
            seen = attributes(painted.factors)
            sha256 = hashlib.sha256(body).hexdigest()
            told[name] = {"variant": variant or None, "sha256": sha256} | (
                {"attributes": seen} if seen else {}
            )
            row = {"file": name, "variant": variant or None, "bytes": len(body), "sha256": sha256}
            rows.append(shared | row | {f"factor_{factor}": value for factor, value in seen.items()})
        if record.latents:
            files["npz"] = encode.npz(record.latents)
        about = shared | {"model": self._model.name, "model_sha256": self._model.sha256, "pictures": told}
        files["json"] = orjson.dumps(about | self._shared, option=orjson.OPT_SORT_KEYS)
        return Made(f"{sample.i:08d}", split, dict(sorted(files.items())), rows, sample)

    @property
    def _side(self) -> int | None:
        return self._output.size

    def _picture(self, sample: Sample, variant: str, painted: Painted) -> bytes:
        text = to_text(self._about(sample, variant))
        return encode.picture(
            sized(painted.pixels, self._output), self._output.format, self._output.quality, text
        )

    def _about(self, sample: Sample, variant: str) -> dict[str, Any]:
        """What the picture carries about how it was made."""
        edits = [*(sample.share.edits if sample.share else ()), *self._edits.get(variant, ())]
        wanted = self._given.class_index
        if sample.share is not None and sample.share.class_index is not None:
            wanted = sample.share.class_index
        steps = [edit.model_dump(mode="json", exclude_none=True) for edit in edits]
        own: dict[str, Any] = {"edits": steps} if steps else {}
        own |= {"class": wanted} if wanted is not None else {}
        if sample.share is not None and sample.share.flow is not None:
            own["flow"] = sample.share.flow.model_dump(mode="json", exclude_none=True)
        return provenance(
            "dataset", self._model.name, self._model.sha256, self._shared, seed=sample.seed, **own
        )

    @cached_property
    def _edits(self) -> dict[str, tuple[EditStep, ...]]:
        return {variant.name: variant.edits for variant in self._given.variants}


def _mask(parts: NDArray[np.uint8], pixels: Pixels, side: int | None) -> bytes:
    """A grey PNG whose value is the number of the part; its size is the picture's."""
    if side is not None:
        height, width = pixels.shape[:2]
        ratio = side / max(height, width)
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        parts = cv2.resize(parts, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    ok, encoded = cv2.imencode(".png", parts)
    if not ok:
        raise RuntimeError("OpenCV could not encode the mask")
    return encoded.tobytes()
