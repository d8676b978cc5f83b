"""What may become of a portrait, and who restores it: classical methods, and searches behind the degradation.

Axis letters: N pictures, C H W of a picture.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.inversion_study.methods import Found, Task, Variant, invert
from bench.inversion_study.subjects import SEED, Model, Portraits, as_file
from generative.inversion import baselines
from generative.inversion.degradations import Degradation, Downsample, Gray, Jpeg, Mask, Noise

SIGMA, QUALITY = 0.2, 10
EXAMPLES = 32  # other portraits, whose mean colour a grey one is given

Baseline = Callable[[Tensor, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Damage:
    """A degradation with its classical remedies; the first is the one that is shown."""

    degradation: Degradation
    baselines: Mapping[str, Baseline]
    hole: tuple[slice, slice] | None = None

    def constants(self, first: int, N: int, size: int) -> dict[str, Tensor]:
        """Of the portraits from number `first` on."""
        if self.hole is not None:
            mask = torch.ones(N, 1, size, size)
            mask[:, :, self.hole[0], self.hole[1]] = 0
            return {"mask": mask}
        if isinstance(self.degradation, Noise):
            rng = torch.Generator().manual_seed(SEED + first)
            return {"noise": torch.randn(N, 3, size, size, generator=rng)}
        return {}

    def observe(self, images: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """As a file of the degraded pictures has them; what a mask hides is 0 whatever the file says."""
        given = as_file(self.degradation.observe(images, constants))
        keeps = isinstance(self.degradation, Mask | Gray)
        return self.degradation.observe(given, constants) if keeps else given


def _filled(method: str) -> Baseline:
    return lambda y, constants: baselines.inpainted(y, constants["mask"], method)  # type: ignore[arg-type]


def _enlarged(factor: int) -> Damage:
    return Damage(Downsample(factor), {"bicubic": lambda y, _: baselines.bicubic(y, factor)})


def _coloured(observed: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
    examples = Portraits.draw(0, EXAMPLES, observed.shape[2], SEED + 1).images
    return baselines.mean_chroma(observed, examples)


HOLES: dict[str, Baseline] = {
    "OpenCV, Telea": _filled("telea"),
    "OpenCV, Navier-Stokes": _filled("navier-stokes"),
    "mean colour": lambda y, constants: baselines.mean_colour(y, constants["mask"]),
}
DAMAGES: dict[str, Damage] = {
    "square missing": Damage(Mask(), HOLES, (slice(16, 48), slice(16, 48))),
    "half missing": Damage(Mask(), HOLES, (slice(None), slice(32, None))),
    "grey": Damage(Gray(), {"mean colour": _coloured}),
    "2 times smaller": _enlarged(2),
    "4 times smaller": _enlarged(4),
    "8 times smaller": _enlarged(8),
    "noise": Damage(
        Noise(SIGMA),
        {
            "OpenCV, non-local means": lambda y, _: baselines.non_local_means(y, SIGMA),
            "OpenCV, bilateral": lambda y, _: baselines.bilateral(y, SIGMA),
        },
    ),
    "JPEG": Damage(Jpeg(QUALITY), {"as it is": lambda y, _: y}),
}


def restore(
    model: Model, damage: Damage, variant: Variant, observed: Tensor, constants: Mapping[str, Tensor]
) -> Found:
    """What the search found, with what the observation knows for certain put back."""
    degradation = None if isinstance(damage.degradation, Noise) else damage.degradation
    found = invert(Task(model, observed, degradation, constants), variant)
    found.images = damage.degradation.composite(found.images.cpu(), observed, constants)
    return found


def shown(observed: Tensor, size: int) -> Tensor:
    """(N, 3, H, W): what one sees of observations, the small ones with large pixels."""
    return F.interpolate(observed, size=(size, size)) if observed.shape[2] < size else observed
