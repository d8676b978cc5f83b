"""Principal components and eigenvectors: GANSpace's files, those that the encoders made of them, and
rosinality's SeFa.

* the cache of a decomposition, `.npz`: `lat_comp` (C, 1, D) and `lat_stdev` (C,), which are of W where the
  standard deviations were measured, and of Z where all are 1;
* a direction that was saved, `.pkl`: one component with its layers and range;
* `ffhq_pca.pt` of encoder4editing and PTI: `comp` (C, 1, D), `mean` (1, D), `std` (C,);
* `factor.pt`: `eigvec` (D, D), one direction a column.

Strengths are in standard deviations, which is what GANSpace's sigma is. The editing of encoder4editing takes
latents TO a coordinate instead: `generative.editing.placing.to_coordinate`.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.editing.direction import Direction
from generative.editing.foreign.request import (
    DirectionFormat,
    Request,
    check_length,
    check_scale,
    flat,
    layers_of,
)
from generative.spaces import Space

_CACHE = set("act_comp act_mean act_stdev lat_comp lat_mean lat_stdev var_ratio random_stdevs".split())
_SAVED = set("name lat_comp lat_stdev latent_space edit_type edit_start edit_end sigma_range".split())


def _has(keys: set[str], exactly: bool) -> Callable[[Any], bool]:
    def recognises(root: Any) -> bool:
        return isinstance(root, dict) and (set(root) == keys if exactly else keys <= set(root))

    return recognises


def _components(
    request: Request, space: Space, axes: Tensor, stdev: Tensor, shares: Tensor | None = None
) -> list[Direction]:
    """Each component as it was published, times its standard deviation."""
    return [
        Direction(
            name=name,
            space=space,
            vector=check_length(axis),
            unit="sigma",
            sigma=check_scale(float(stdev[i]), "a standard deviation"),
            method="ganspace",
            description=f"principal component {i}",
            provenance={} if shares is None else {"share_of_variance": float(shares[i])},
        )
        for i, (name, axis) in enumerate(zip(request.named(len(axes)), axes, strict=True))
    ]


def _read_cache(root: dict[str, Any], request: Request) -> list[Direction]:
    stdev = flat(root["lat_stdev"], None)
    space = request.agree(Space.Z if bool((stdev == 1).all()) else Space.W)
    axes = flat(root["lat_comp"], len(stdev), *request.target.shape(space))
    return _components(request, space, axes, stdev, flat(root["var_ratio"], len(stdev)))


def _read_pca(root: dict[str, Any], request: Request) -> list[Direction]:
    space = request.agree(Space.W)
    stdev = flat(root["std"], None)
    return _components(request, space, flat(root["comp"], len(stdev), *request.target.shape(space)), stdev)


def _read_saved(root: dict[str, Any], request: Request) -> list[Direction]:
    if root["edit_type"] != "latent" or root["latent_space"] not in ("W", "Z"):
        raise CheckpointError("unsupported_format", "a saved direction that moves activations, not latents")
    space = request.agree(Space(str(root["latent_space"]).lower()))
    reach = root["sigma_range"]  # pictures were shown from here to its negative
    reach = check_scale(abs(reach) if isinstance(reach, float) else None, "the range of strengths")
    return [
        Direction(
            name=request.name,
            space=space,
            vector=check_length(flat(root["lat_comp"], *request.target.shape(space))),
            layers=_layers(root["edit_start"], root["edit_end"], request.target.num_ws)
            if space is Space.W
            else None,
            unit="sigma",
            sigma=check_scale(root["lat_stdev"], "a standard deviation"),
            range=(-reach, reach),
            method="ganspace",
            description=_text(root["name"]),
        )
    ]


def _layers(start: object, end: object, count: int) -> tuple[int, ...]:
    """The end is not among them; what goes beyond the network's layers is cut."""
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= 100:
        raise CheckpointError("bad_config", "a saved direction whose range of layers is none")
    return layers_of(list(range(start, min(end, count))), count)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise CheckpointError("bad_config", "a saved direction whose name is not a short text")
    return value


def _read_factor(root: dict[str, Any], request: Request) -> list[Direction]:
    space = request.agree(Space.W)
    [dim] = request.target.shape(space)
    vectors = flat(root["eigvec"], dim, None).T
    return [
        Direction(
            name, space, check_length(vector.contiguous()), method="sefa", description=f"eigenvector {i}"
        )
        for i, (name, vector) in enumerate(zip(request.named(len(vectors)), vectors, strict=True))
    ]


DECOMPOSITION = DirectionFormat(_has(_CACHE, exactly=True), _read_cache)
PCA = DirectionFormat(_has({"comp", "mean", "std"}, exactly=True), _read_pca)
SAVED_DIRECTION = DirectionFormat(_has(_SAVED, exactly=False), _read_saved)
FACTOR = DirectionFormat(_has({"ckpt", "eigvec"}, exactly=True), _read_factor)
