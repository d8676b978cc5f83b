"""Files that hold an array and nothing else, of whatever meaning: its shape and the model have to tell.

* (D,) or (1, D): a vector of Z or W, which the caller has to say where both are D long. A unit vector in a
  row of its own is the normal of a boundary of InterFaceGAN: its strengths are distances. Any other is added
  as it is.
* (L, D) or (1, L, D): a vector of W+, with a part for each layer.
* (D, D): directions of Z as the Hessian Penalty learns them, one a row. They are made orthonormal, in order.
  A smaller matrix is for a part of z, whose first coordinate the caller has to say: published are 40
  coordinates from 0 (coarse), 40 (middle) and 80 (fine) of 120.
"""

import torch
from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.discovery.hessian_penalty import orthonormal
from generative.editing.direction import Direction
from generative.editing.foreign.request import Request, check_length, numbers
from generative.spaces import Space


def read(spec: TensorSpec, request: Request) -> list[Direction]:
    match spec.size:
        case (1, dim) | (dim,):
            return [_vector(numbers(spec, spec.size).flatten(), request, boundary=len(spec.size) == 2)]
        case (rows, columns) if rows == columns:
            return _matrix(spec, request)
        case (layers, dim) | (1, layers, dim):
            return [_layered(numbers(spec, spec.size).reshape(layers, dim), request)]
    raise CheckpointError("wrong_shapes", f"an array of shape {spec.size} is no direction")


def _vector(vector: Tensor, request: Request, boundary: bool) -> Direction:
    space = _space_of(len(vector), request)
    [wanted] = request.target.shape(space)
    if len(vector) != wanted:
        raise CheckpointError("wrong_shapes", f"a vector of {len(vector)} numbers, for {space} of {wanted}")
    length = float(check_length(vector).norm())
    if boundary and abs(length - 1) < 1e-4:
        return Direction(request.name, space, vector, unit="distance", method="interfacegan")
    return Direction(request.name, space, vector)


def _space_of(count: int, request: Request) -> Space:
    """Where a vector of `count` numbers belongs."""
    if request.space is Space.W_PLUS:
        raise CheckpointError("wrong_shapes", "w+ is meant, but the file holds one vector, which is one of w")
    if request.space is not None:
        return request.space
    target = request.target
    fits = [space for space, n in ((Space.Z, target.z_dim), (Space.W, target.w_dim)) if n == count]
    if not fits:
        raise CheckpointError(
            "wrong_shapes", f"a vector of {count} numbers fits neither z nor w of the model"
        )
    if len(fits) > 1:
        raise CheckpointError("bad_config", "z or w? Both have as many numbers as the vector: say which")
    return fits[0]


def _layered(vector: Tensor, request: Request) -> Direction:
    space = request.agree(Space.W_PLUS)
    if vector.shape != request.target.shape(space):
        raise CheckpointError(
            "wrong_shapes",
            f"a vector of shape {tuple(vector.shape)}, for w+ of {request.target.shape(space)}",
        )
    return Direction(request.name, space, check_length(vector))


def _matrix(spec: TensorSpec, request: Request) -> list[Direction]:
    request.agree(Space.Z)
    [count, _], total = spec.size, request.target.z_dim
    first = 0 if count == total else request.first
    if not count or first is None or not 0 <= first <= total - count:
        raise CheckpointError("wrong_shapes", f"a matrix for {count} coordinates of {total}: say for which")
    learned = torch.stack([check_length(row) for row in numbers(spec, (count, count))])
    directions = torch.zeros(count, total)
    directions[:, first : first + count] = orthonormal(learned)
    return [
        Direction(name, Space.Z, vector, method="hessian penalty")
        for name, vector in zip(request.named(count), directions, strict=True)
    ]
