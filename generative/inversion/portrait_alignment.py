"""Portraits of the built-in world, found in a picture and framed as the world frames them.

The parts network says where eyes, mouth and head are. A head that is turned aside moves its eyes a lot and
brings them nearer to each other; as a whole it hardly moves. So the distance of the eyes from the middle of
the head tells by how much it is turned, and with that their own distance tells its size.

The network knows upright heads of one size. So it looks at squares of several sizes, turns and places, and
again at what it found there; where it is right it is also sure.

Axis letters: N squares, C channels, H W pixels, K parts, S pixels of a square.
"""

import cmath
import math
from collections.abc import Iterator, Sequence
from heapq import nlargest
from typing import NamedTuple

import torch
from torch import Tensor

from generative.inversion.alignment import Frame, cut, whole
from generative.networks.parts_network import PartsNetwork

# Means over the world's portraits, in halves of the picture's side
EYES_APART = 0.370  # of a head that looks ahead
EYES_ASIDE = 0.480  # from the middle of the head, times the sine of the angle by which it is turned
EYES_ABOVE = 0.0715  # the centre of the picture
EYES_SHARE = 0.115  # what eyes count sideways beside the whole head, which moves the other way, but less

BODY = ("background", "neck", "shirt")  # all other parts are the head
SMALLEST = 3e-4  # share of the picture below which a part counts as not seen

SHARES = (1.0, 0.8, 0.64, 0.51, 0.41)  # of the picture's side, that a portrait may take
TURNS = (0.0, math.radians(30), math.radians(-30))  # it sees up to 15 degrees more or less
STEP = 0.5  # between places, in halves of a square's side
TRIES, PASSES = 3, 5  # squares of each size that are looked at again, and how often
# Mean probability of the likeliest part in a square, above which the search ends, and below which it fails.
# Portraits have 0.985 to 0.996, squares beside them up to 0.987, noise up to 0.93
SURE, DOUBTFUL = 0.99, 0.96
AT_ONCE = 64  # squares that the network sees together


class Sighting(NamedTuple):
    """A portrait that may be there."""

    frame: Frame
    confidence: float


def portrait_frame(labels: Tensor, parts: Sequence[str]) -> Frame:
    """The square that shows a portrait as the world would.

    Args:
        labels: (H, W), an index into `parts` for each pixel.

    Raises:
        ValueError: an eye or the mouth is not there, or not where a face has it.
    """
    # The names are the person's own left and right
    left, right, mouth = (_middle(labels, parts, [part]) for part in ("right eye", "left eye", "mouth"))
    head = _middle(labels, parts, [part for part in parts if part not in BODY])
    if left == right:
        raise ValueError("no face: the eyes are in one place")
    direction = (right - left) / abs(right - left)
    eyes, mouth, head = (point / direction for point in ((left + right) / 2, mouth, head))
    if mouth.imag <= eyes.imag:
        raise ValueError("no face: the mouth is not below the eyes")
    aside = eyes.real - head.real
    half = math.hypot(abs(right - left) / EYES_APART, aside / EYES_ASIDE)
    center = complex(head.real + EYES_SHARE * aside, eyes.imag + EYES_ABOVE * half)
    return Frame(center * direction, half * direction)


def find_portrait(image: Tensor, network: PartsNetwork) -> Frame:
    """The square of the one portrait in a picture.

    Args:
        image: (3, H, W) in [-1, 1].

    Raises:
        ValueError: no face is seen.
    """
    around = whole(image)
    side = min(max(image.shape[1:]), math.ceil(network.record.resolution / SHARES[-1]))
    small, best = cut(image, around, side), Sighting(around, 0.0)
    for share in SHARES:
        seen = _look(small, list(_squares(small, share)), network)
        for sighting in nlargest(TRIES, seen, key=lambda s: s.confidence):
            settled = _settled(small, sighting, network)
            best = max(best, settled, key=lambda s: s.confidence)
        if best.confidence > SURE:
            break
    if best.confidence < DOUBTFUL:
        raise ValueError("no face is seen")
    return best.frame.inside(around, side)


def _squares(image: Tensor, share: float) -> Iterator[Frame]:
    """Squares of one size, turned and spread evenly over the square around a picture."""
    around = whole(image)
    count = math.ceil(2 * (1 - share) / (STEP * share)) + 1
    places = torch.linspace(share - 1, 1 - share, count).tolist() if count > 1 else [0.0]
    for turn in TURNS:
        for x in places:
            for y in places:
                center = around.center + around.axis * complex(x, y)
                yield Frame(center, around.axis * cmath.rect(share, turn))


def _look(image: Tensor, frames: Sequence[Frame], network: PartsNetwork) -> list[Sighting]:
    """The portraits that the network sees in some squares of a picture."""
    size = network.record.resolution
    squares = torch.stack([cut(image, frame, size) for frame in frames])
    logits = torch.cat([network(some) for some in squares.split(AT_ONCE)])  # (N, K, S, S)
    confidence = logits.softmax(dim=1).amax(dim=1).mean(dim=(1, 2)).tolist()
    seen = []
    for frame, labels, sure in zip(frames, logits.argmax(dim=1), confidence, strict=True):
        try:
            seen.append(Sighting(portrait_frame(labels, network.record.parts).inside(frame, size), sure))
        except ValueError:
            continue
    return seen


def _settled(image: Tensor, sighting: Sighting, network: PartsNetwork) -> Sighting:
    """Looked at again, each time in the square of the last time; without confidence if it is gone then."""
    for _ in range(PASSES):
        again = _look(image, [sighting.frame], network)
        if not again:
            return sighting._replace(confidence=0.0)
        sighting = again[0]
    return sighting


def _middle(labels: Tensor, parts: Sequence[str], named: Sequence[str]) -> complex:
    """The mean place of the pixels of some parts."""
    wanted = torch.tensor([parts.index(part) for part in named], device=labels.device, dtype=labels.dtype)
    rows, columns = torch.isin(labels, wanted).nonzero().double().unbind(1)
    if len(rows) < max(1, SMALLEST * labels.numel()):
        raise ValueError(f"no face: the picture shows no {' or '.join(named)}")
    return complex(columns.mean(), rows.mean()) + 0.5 + 0.5j
