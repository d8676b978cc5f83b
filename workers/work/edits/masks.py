"""Where an operation acts: from an uploaded picture, a box, or the parts that a network finds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from generative.editing.regions import box_mask, feathered, grown
from jobs.editing import AnyMask, Mask
from jobs.errors import UnsupportedByModel
from workers.images import Pixels, decode, fit_square, to_tensor
from workers.job import RunningJob
from workers.models import LoadedModel
from workers.work.observations import read_image

BATCH = 32  # pictures that the parts network sees at once


def draw(
    job: RunningJob[Any], model: LoadedModel, wanted: AnyMask, N: int, pictures: Callable[[], Pixels]
) -> Tensor:
    """(N, 1, R, R) uint8, 255 inside. `pictures`: (N, R, R, 3), asked for only where parts are."""
    side = model.generator.img_resolution
    given = Mask(image=wanted) if isinstance(wanted, str) else wanted
    if given.image is not None:
        pixels = fit_square(decode(read_image(job, given.image)), side)
        mask = torch.from_numpy(pixels).float().mean(dim=-1)[None, None] / 255
    elif given.box is not None:
        box = given.box
        mask = box_mask(box.left, box.top, box.width, box.height, side)[None, None]
    else:
        mask = _parts(model, given.parts or (), pictures())
    mask = 1 - mask if given.invert else mask
    mask = feathered(grown(mask, given.grow), given.feather)
    return (mask * 255).round().to(torch.uint8).expand(N, -1, -1, -1)


def _parts(model: LoadedModel, names: tuple[str, ...], pictures: Pixels) -> Tensor:
    """(N, 1, R, R). The network is on the CPU, for threads of jobs."""
    if model.parts is None:
        raise UnsupportedByModel(f"no network finds parts in pictures of {model.name!r}")
    images = to_tensor(pictures)
    with torch.no_grad():
        found = [model.parts.mask(images[at : at + BATCH], *names) for at in range(0, len(images), BATCH)]
    return torch.cat(found)[:, None].float()
