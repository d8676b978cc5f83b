"""Files of the same projects that hold no directions: recognised, so that the answer says what they are."""

import re
from collections.abc import Callable
from typing import Any, NoReturn

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.editing.foreign.request import DirectionFormat, Request


def _keys(*names: str) -> Callable[[Any], bool]:
    return lambda root: isinstance(root, dict) and set(root) == set(names)


def _is_flow(root: Any) -> bool:
    keys = set(root) if isinstance(root, dict) else set()
    layer = re.compile(r"chain\.\d+\.odefunc\.diffeq\.layers\.0\._layer\.weight")
    return any(isinstance(key, str) and layer.fullmatch(key) for key in keys)


def _is_statistics(root: Any) -> bool:
    """StyleSpace's `S_mean_std` and `S`: two lists, of which the second holds arrays."""
    match root:
        case [list(), [TensorSpec(), *_]]:
            return True
    return False


def _is_regions(root: Any) -> bool:
    return isinstance(root, list) and bool(root) and all(isinstance(entry, TensorSpec) for entry in root)


def _refused(recognises: Callable[[Any], bool], what: str) -> DirectionFormat:
    def read(_root: Any, _request: Request) -> NoReturn:
        raise CheckpointError("unsupported_format", f"no directions: {what}")

    return DirectionFormat(recognises, read)


FORMATS = (
    _refused(_is_flow, "a flow of StyleFlow, which finds another edit for every latent"),
    _refused(
        _keys("X_mean", "X_comp", "X_stdev", "X_var_ratio"),
        "the principal axes of P space, by which II2S measures how unusual a latent is",
    ),
    _refused(_keys("mean", "std"), "the mean and spread of latents, by which PULSE begins its search"),
    _refused(_is_statistics, "styles, or their mean and spread, by which StyleSpace measures channels"),
    _refused(_is_regions, "the regions of pictures that StyleSpace's channels act on"),
)
