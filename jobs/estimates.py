"""What a job would make, take and cost, told before it starts.

Device seconds and bytes a picture are those of the tenant's latest jobs with the model, where it has had any;
bytes are else those of portraits, by the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from jobs.cards import Card
from jobs.dataset import DatasetInput
from jobs.fit import pictures
from jobs.schemas import JobRequest

BYTES_A_PIXEL = {"png": 1.9, "jpeg": 0.42, "webp": 0.2, "npz": 3.0}
"""Of portraits of 64 pixels at quality 90; larger pictures take less."""
BYTES_A_FILE = 1100  # provenance, the text beside the picture, and what a tar adds to each
BYTES_A_NUMBER = 4


@dataclass(frozen=True)
class Measured:
    """Of a tenant's latest jobs with a model; None where there were none."""

    device_s: float | None = None
    """A picture."""
    bytes: float | None = None
    """A picture of that format."""


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
    side = request.output.size or card.resolution
    each = seen.bytes or BYTES_A_PIXEL[request.output.format] * side**2
    size = count * each
    found: dict[str, int | None] = {}
    if isinstance(given, DatasetInput):
        found = {"samples": given.samples, "shards": given.shards, "shard_size": given.shard_size}
        size += count * BYTES_A_FILE + given.samples * _latent_bytes(request, card)
    device_s = None if seen.device_s is None else round(seen.device_s * count, 1)
    price = None if device_s is None or hour_price is None else round(device_s / 3600 * hour_price, 2)
    return Estimate(
        kind=request.kind,
        model=request.model,
        pictures=count,
        bytes=round(size),
        device_s=device_s,
        price=price,
        measured=seen.bytes is not None,
        refused=refused,
        **found,
    )


def _latent_bytes(request: JobRequest, card: Card) -> int:
    lengths: Mapping[str, int] = {
        "z": card.z_dim,
        "w": card.w_dim,
        "w+": card.num_ws * card.w_dim,
        "s": card.style_size or 0,
    }
    return lengths.get(request.output.latents, 0) * BYTES_A_NUMBER
