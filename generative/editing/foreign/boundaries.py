"""HiGAN's and IdInvert's boundaries: `np.save` of `{"boundary": …, "meta_data": {"manipulate_layers": …}}`.

HiGAN's are unit vectors of W, (1, 512), and say `6-11`; IdInvert's have a unit vector for each layer of W+,
(1, 14, 512), and a list of layers. Both are added to latents on those layers.
"""

from typing import Any

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.editing.direction import Direction
from generative.editing.foreign.request import DirectionFormat, Request, check_length, layers_of, numbers
from generative.spaces import Space


def _recognises(root: Any) -> bool:
    return isinstance(root, dict) and set(root) == {"boundary", "meta_data"}


def _read(root: dict[str, Any], request: Request) -> list[Direction]:
    boundary, about = root["boundary"], root["meta_data"]
    if not isinstance(boundary, TensorSpec) or not isinstance(about, dict):
        raise CheckpointError("malformed", "a boundary without its array, or without what it says of itself")
    layered = len(boundary.size) == 3
    space = request.agree(Space.W_PLUS if layered else Space.W)
    vector = numbers(boundary, (1, *request.target.shape(space)))[0]
    layers = layers_of(about.get("manipulate_layers"), request.target.num_ws)
    method = "idinvert" if layered else "higan"
    return [Direction(request.name, space, check_length(vector), layers, method=method)]


FORMAT = DirectionFormat(_recognises, _read)
