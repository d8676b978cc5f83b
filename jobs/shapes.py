"""Whether latents, spaces and layers are those that a model has, by its card."""

import array
import base64
import binascii
import math
import sys
from typing import Any

from jobs.cards import Card
from jobs.errors import BadRequest, LimitExceeded, UnsupportedByModel
from jobs.sources import Latents, LatentSource, Numbers, parse_layers
from jobs.words import MAX_IMAGES

FLOAT32_MAX = 3.4028234663852886e38


def check_space(space: str, card: Card, where: str) -> None:
    if ("w+" if space == "features" else space) not in card.spaces:
        listed = ", ".join(card.spaces)
        raise UnsupportedByModel(f"{where}: the model {card.name!r} has no space {space!r}, only {listed}.")


def check_layers(layers: str, card: Card, where: str) -> None:
    """`"4-7,9"` names layers below `num_ws`."""
    try:
        last = max(parse_layers(layers))
    except ValueError as error:
        raise BadRequest(f"{where}: {error}") from None
    if last >= card.num_ws:
        raise BadRequest(f"{where}: there is no layer {last}; the model has layers 0 to {card.num_ws - 1}")


def count(source: LatentSource) -> int | None:
    """How many latents it gives; None when only the worker will know."""
    if source.seeds is not None:
        return len(source.seed_list())
    if (latents := source.latents) is not None:
        return len(latents.values) if latents.values is not None else (latents.shape or (0,))[0]
    images = getattr(source, "images", None)
    return None if images is None else len(images)


def check_latents(latents: Latents, card: Card, where: str) -> None:
    """A finite array of the shape that the space has in this model."""
    check_space(latents.space, card, where)
    one = {
        "z": (card.z_dim,),
        "w": (card.w_dim,),
        "w+": (card.num_ws, card.w_dim),
        "p": (card.w_dim,),
        "p+": (card.num_ws, card.w_dim),
        "s": (card.style_size,),
    }[latents.space]
    shape = shape_of(latents, where)
    if shape[1:] != one or not shape[0]:
        wanted = ", ".join(map(str, one))
        raise BadRequest(f"{where}: {latents.space!r} has the shape (N, {wanted}), not {shape}")
    if shape[0] > MAX_IMAGES:
        raise LimitExceeded(f"at most {MAX_IMAGES} latents in one job")
    check_packed(latents, shape, where)


def shape_of(numbers: Numbers, where: str) -> tuple[int, ...]:
    """Raises BadRequest for nested lists that are ragged or hold something not finite."""
    if numbers.values is not None:
        return _values_shape(numbers.values, where)
    shape = numbers.shape or ()
    if not shape or min(shape) < 1:
        raise BadRequest(f"{where}.shape: every length is at least 1")
    return shape


def _values_shape(values: Any, where: str) -> tuple[int, ...]:
    if not isinstance(values, list):
        if type(values) not in (int, float) or not abs(values) <= FLOAT32_MAX:
            raise BadRequest(f"{where}.values: every value is a finite number")
        return ()
    shapes = {_values_shape(value, where) for value in values}
    if len(shapes) > 1:
        raise BadRequest(f"{where}.values: the rows have different lengths")
    return (len(values), *(shapes.pop() if shapes else ()))


def check_packed(numbers: Numbers, shape: tuple[int, ...], where: str) -> None:
    """base64, if it is that, holds the finite numbers of the shape."""
    if numbers.base64 is None:
        return
    try:
        content = base64.b64decode(numbers.base64, validate=True)
    except binascii.Error as error:
        raise BadRequest(f"{where}.base64: {error}") from None
    if len(content) != 4 * math.prod(shape):
        raise BadRequest(f"{where}.base64: {len(content)} bytes, and the shape needs {4 * math.prod(shape)}")
    found = array.array("f", content)
    if sys.byteorder == "big":
        found.byteswap()
    if not all(map(math.isfinite, found)):
        raise BadRequest(f"{where}.base64: every value is a finite number")
