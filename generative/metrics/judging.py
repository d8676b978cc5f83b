"""Is a distance between pictures right? The portraits world knows.

Two kinds of question. *Graded*: how far does a distance put pictures that are blurred, noisy, shifted or
compressed by known amounts, or in which one factor has changed, in units of the distance between strangers?
*Forced choice* (as in Zhang et al., 2018, but with the truth in place of human judges): which of two pictures
is nearer to a reference? The answer is known, because the three were made from factors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.networks.feature_network import FeatureNetwork, Readout
from generative.pixels import from_uint8, to_uint8
from generative.worlds.portraits import FACTORS, NAMES, index, render, replace, sample

Distance = Callable[[Tensor, Tensor], Tensor]
"""(N, 3, H, W) twice, in [-1, 1] -> (N,), larger is farther."""
Change = Callable[[Tensor, Tensor], Tensor]
"""People (N, F), and as many strangers -> the people with something changed."""


def mean_squared(a: Tensor, b: Tensor) -> Tensor:
    """The plain distance that others are measured against: (N, 3, H, W) twice -> (N,)."""
    return (a - b).square().mean(dim=(1, 2, 3))


def by_factors(network: FeatureNetwork) -> Distance:
    """How differently a network names the factors of two pictures: squared differences of standard scores and
    of probabilities, mean over the factors.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        x, y = (network.read(network(images)[-1]).float() for images in (a, b))
        return torch.stack([_apart(x[:, c.slice], y[:, c.slice], c.readout) for c in network.columns]).mean(0)

    return distance


def _apart(x: Tensor, y: Tensor, readout: Readout) -> Tensor:
    """(N, classes) twice -> (N,)."""
    if readout.kind == "continuous":
        return (x - y)[:, 0].square()
    if readout.kind == "binary":
        return (x.sigmoid() - y.sigmoid())[:, 0].square()
    return 0.5 * (x.softmax(1) - y.softmax(1)).square().sum(1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian, sigma in pixels."""
    x = torch.arange(-8, 9, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (x / sigma).square()).exp()
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    across = F.conv2d(F.pad(images, (8, 8, 0, 0), mode="replicate"), kernel, groups=3)
    return F.conv2d(F.pad(across, (0, 0, 8, 8), mode="replicate"), kernel.transpose(2, 3), groups=3)


def noise(images: Tensor, spread: float) -> Tensor:
    """White and Gaussian, the same for the same shape; of a standard deviation in units of [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    return images + spread * torch.randn(images.shape, generator=rng).to(images)


def shift(images: Tensor, pixels: float) -> Tensor:
    """To the right by whole pixels; the left edge is repeated."""
    n = int(pixels)
    return F.pad(images, (n, 0, 0, 0), mode="replicate")[..., : images.shape[3]]


def jpeg(images: Tensor, quality: float) -> Tensor:
    """Compressed and read again, at a quality of 1 to 100."""
    out = []
    for picture in to_uint8(images).cpu().flip(-1).contiguous().numpy():  # cv2 has blue first
        _, stream = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
        out.append(torch.from_numpy(np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR))).flip(-1))
    return from_uint8(torch.stack(out)).to(images)


@dataclass(frozen=True)
class Disturbance:
    """Something that is done to pixels, in steps from hardly visible to strong."""

    apply: Callable[[Tensor, float], Tensor]
    levels: tuple[float, ...]
    unit: str


DISTURBANCES = {
    "blur": Disturbance(blur, (0.4, 0.6, 0.9, 1.4, 2.2), "sigma, pixels"),
    "noise": Disturbance(noise, (0.02, 0.05, 0.1, 0.2, 0.4), "standard deviation"),
    "shift": Disturbance(shift, (1, 2, 3, 4, 6), "pixels"),
    "JPEG": Disturbance(jpeg, (90, 70, 50, 30, 10), "quality"),
}


def _other(name: str) -> Change:
    """The next category, or the other of two."""
    count = len(FACTORS[index(name)].values)
    return lambda people, _: replace(people, **{name: (people[:, index(name)] + 1) % count})


def _far(name: str) -> Change:
    """Half of the range away."""
    factor = FACTORS[index(name)]
    half, middle = (factor.high - factor.low) / 2, (factor.high + factor.low) / 2

    def change(people: Tensor, _: Tensor) -> Tensor:
        value = people[:, index(name)]
        return replace(people, **{name: torch.where(value > middle, value - half, value + half)})

    return change


MOMENT = (
    *("yaw", "pitch", "light_azimuth", "light_elevation", "background"),
    *("smile", "mouth_open", "brow", "gaze", "shirt_color", "collar"),
)
"""What changes from one photograph of a person to the next; all other factors are the person's own."""
IDENTITY = tuple(name for name in NAMES if name not in MOMENT)


def _taken(names: tuple[str, ...]) -> Change:
    """Those factors of the stranger."""
    return lambda people, strangers: replace(people, **{n: strangers[:, index(n)] for n in names})


CHANGES: dict[str, Change] = {
    "iris colour": _other("iris_color"),
    "gaze": _far("gaze"),
    "nose size": _far("nose_size"),
    "age": _far("age"),
    "smile": _far("smile"),
    "glasses": _other("glasses"),
    "beard": _other("beard"),
    "hair colour": _other("hair_color"),
    "skin tone": _far("skin_tone"),
    "light": _far("light_azimuth"),
    "pose": _far("yaw"),
    "background": _far("background"),
    "another person": _taken(IDENTITY),
    "another moment": _taken(MOMENT),
}
SEMANTIC = ("smile", "glasses", "beard", "hair colour", "age")
"""Changes that anybody would name."""


@dataclass(frozen=True)
class Trials:
    """Pictures (N, 3, H, W) each: `near` is what the truth says is nearer to the reference than `far`."""

    reference: Tensor
    near: Tensor
    far: Tensor


@torch.no_grad()
def agreement(distance: Distance, trials: Trials) -> float:
    """Share of the trials in which the distance says as the truth does; a coin would get 0.5."""
    near, far = (distance(trials.reference, x) for x in (trials.near, trials.far))
    return (near < far).float().mean().item()


def fewer_changes(n: int, gap: int, size: int, rng: torch.Generator) -> Trials:
    """`far` has `gap` more factors of a stranger than `near` has, each its own, at random."""
    if not 0 < gap < len(NAMES):
        raise ValueError(f"gap must be in 1 .. {len(NAMES) - 1}")
    people, some, others = (sample(n, rng, independent=True) for _ in range(3))
    few = torch.randint(1, len(NAMES) - gap + 1, (n, 1), generator=rng)
    return _rendered(people, _mixed(people, some, few, rng), _mixed(people, others, few + gap, rng), size)


def _mixed(people: Tensor, strangers: Tensor, counts: Tensor, rng: torch.Generator) -> Tensor:
    """People (N, F) with `counts` (N, 1) factors of strangers, drawn from those that differ first."""
    order = torch.rand(people.shape, generator=rng) + (people == strangers)
    return torch.where(order.argsort(dim=1).argsort(dim=1) < counts, strangers, people)


def same_person(n: int, size: int, rng: torch.Generator) -> Trials:
    """`near` is the same person in another moment, `far` another person in the same moment."""
    people, strangers = sample(n, rng), sample(n, rng)
    moment, person = CHANGES["another moment"], CHANGES["another person"]
    return _rendered(people, moment(people, strangers), person(people, strangers), size)


def only_disturbed(n: int, name: str, level: float, size: int, rng: torch.Generator) -> Trials:
    """`near` is the same picture, slightly disturbed; in `far` a factor changed that anybody would name."""
    people = sample(n, rng)
    turn = torch.arange(n) % len(SEMANTIC)
    changed = torch.stack([CHANGES[change](people, people) for change in SEMANTIC])[turn, torch.arange(n)]
    trials = _rendered(people, people, changed, size)
    return Trials(trials.reference, DISTURBANCES[name].apply(trials.reference, level), trials.far)


def _rendered(reference: Tensor, near: Tensor, far: Tensor, size: int) -> Trials:
    return Trials(*(render(people, size).image for people in (reference, near, far)))


class Sitting:
    """Pictures (N, 3, H, W) of people and of as many strangers, and of what becomes of the people."""

    def __init__(self, count: int, size: int, rng: torch.Generator) -> None:
        self.people, self.strangers, self.size = sample(count, rng), sample(count, rng), size
        self.images, self.others = (render(some, size).image for some in (self.people, self.strangers))
        self._changed: dict[str, Tensor] = {}

    def changed(self, name: str) -> Tensor:
        """The people after one of `CHANGES`; rendered once."""
        if name not in self._changed:
            self._changed[name] = render(CHANGES[name](self.people, self.strangers), self.size).image
        return self._changed[name]


class Judge:
    """What a distance makes of a sitting, in units of the mean distance between strangers."""

    def __init__(self, distance: Distance, sitting: Sitting) -> None:
        self.distance, self.sitting = distance, sitting
        self.unit = self._mean(sitting.others)

    def disturbed(self, name: str) -> list[float]:
        """One number for each level of a disturbance, from weak to strong."""
        disturbance = DISTURBANCES[name]
        pictures = [disturbance.apply(self.sitting.images, level) for level in disturbance.levels]
        return [self._mean(x) / self.unit for x in pictures]

    def changed(self, name: str) -> float:
        """After one of `CHANGES`."""
        return self._mean(self.sitting.changed(name)) / self.unit

    @torch.no_grad()
    def _mean(self, images: Tensor) -> float:
        return self.distance(self.sitting.images, images).mean().item()
