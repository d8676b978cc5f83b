"""What a job would make, take and cost, told before it starts.

Device seconds and bytes a picture are those of the tenant's latest jobs with the model, where it has had any;
bytes are else those of portraits, by the format.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from jobs.cards import Card
from jobs.dataset import DatasetInput
from jobs.fit import pictures
from jobs.schemas import DatasetRequest, JobRequest

BYTES_A_PIXEL = {"png": 1.9, "jpeg": 0.42, "webp": 0.2, "npz": 3.0}
"""Of portraits of 64 pixels at quality 90; larger pictures take less."""
BYTES_A_FILE = 1100  # provenance, the text beside the picture, and what a tar adds to each
BYTES_A_NUMBER = 4


@dataclass(frozen=True)
class Needs:
    """Of a job, as its tenant's quotas count them. Bytes and device seconds are 0 where they are not told."""

    images: int
    bytes: float = 0.0
    device_s: float = 0.0

    def __add__(self, other: "Needs") -> "Needs":
        return Needs(self.images + other.images, self.bytes + other.bytes, self.device_s + other.device_s)


@dataclass(frozen=True)
class Measured:
    """Of a tenant's latest jobs with a model; None where there were none."""

    device_s: float | None = None
    """A picture."""
    bytes: float | None = None
    """A picture of that format."""


Past = Callable[[str, str], Measured]
"""A model and the media type of its pictures -> what the tenant's latest jobs took."""
Asked = Callable[[Past], Needs]
"""What a job needs, once the past is known."""


class Estimate(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    kind: str
    model: str
    pictures: int
    samples: int | None = None
    shards: int | None = None
    shard_size: int | None = None
    bytes: int
    device_s: float | None
    """Of one device; null where nothing was made with the model yet. Workers share it."""
    price: float | None
    """`device_s` at the price of a device hour, where those who run the service have set one."""
    measured: bool
    """Whether `bytes` follow from the tenant's own pictures of that format and model."""
    refused: str | None
    """Why the job would be refused now, by quotas; null if it would be taken."""


def estimate(
    request: JobRequest, card: Card, seen: Measured, *, hour_price: float | None, refused: str | None
) -> Estimate:
    """request: completed and checked."""
    given, count = request.input, pictures(request)
    found: dict[str, int | None] = {}
    if isinstance(given, DatasetInput):
        found = {"samples": given.samples, "shards": given.shards, "shard_size": given.shard_size}
    device_s = None if seen.device_s is None else round(seen.device_s * count, 1)
    price = None if device_s is None or hour_price is None else round(device_s / 3600 * hour_price, 2)
    return Estimate(
        kind=request.kind,
        model=request.model,
        pictures=count,
        bytes=round(_bytes(request, card, seen)),
        device_s=device_s,
        price=price,
        measured=seen.bytes is not None,
        refused=refused,
        **found,
    )


def needs(request: JobRequest, card: Card, seen: Measured) -> Needs:
    """What quotas are asked for. Files in a bucket of the tenant's own are not the service's bytes."""
    count = pictures(request)
    foreign = isinstance(request, DatasetRequest) and request.output.bucket is not None
    size = 0.0 if foreign else _bytes(request, card, seen)
    return Needs(count, size, (seen.device_s or 0.0) * count)


def media_type(request: JobRequest) -> str:
    return f"image/{request.output.format}"


def _bytes(request: JobRequest, card: Card, seen: Measured) -> float:
    given, count = request.input, pictures(request)
    side = request.output.size or card.resolution
    size = count * (seen.bytes or BYTES_A_PIXEL[request.output.format] * side**2)
    if isinstance(given, DatasetInput):
        size += count * BYTES_A_FILE + given.samples * _latent_bytes(request, card)
    return size


def _latent_bytes(request: JobRequest, card: Card) -> int:
    lengths: Mapping[str, int] = {
        "z": card.z_dim,
        "w": card.w_dim,
        "w+": card.num_ws * card.w_dim,
        "s": card.style_size or 0,
    }
    return lengths.get(request.output.latents, 0) * BYTES_A_NUMBER
