"""Directions as their authors publish them: files of other projects, made into our `Direction`s.

| from | file | holds |
| --- | --- | --- |
| InterFaceGAN, HiGAN, mGANprior, ALAE | `.npy` (512,) or (1, 512) | one vector of Z or W |
| encoder4editing, PTI, ReStyle, StyleGAN-NADA | `.pt` (1, 512) or (1, 18, 512) | one vector of W or W+ |
| FFHQ directions, GAN steerability | `.npy` (18, 512) | one vector of W+ |
| HiGAN, IdInvert | `.npy` of a dictionary | a vector of W or W+, and the layers that it is for |
| GANSpace | `.npz`, a saved `.pkl`, `ffhq_pca.pt` | principal components with their standard deviations |
| rosinality's SeFa | `factor.pt` | eigenvectors |
| Hessian Penalty | `.pt` (120, 120) | directions of Z, before they are made orthonormal |

Files of these projects that hold something else are recognised, and refused with what they are. Formats are
recognised by content; names of files mean nothing. What a file cannot say is the caller's to say: which model
it is for, and for a single vector, whether it is one of Z or of W.
"""

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.editing.direction import Direction
from generative.editing.foreign import arrays, boundaries, components, others
from generative.editing.foreign.opened import open_file
from generative.editing.foreign.request import MAX_DIRECTIONS, Request, Target, check_name

__all__ = ["Request", "Target", "read_directions"]

FORMATS = (
    boundaries.FORMAT,
    components.SAVED_DIRECTION,
    components.DECOMPOSITION,
    components.PCA,
    components.FACTOR,
    *others.FORMATS,
)


def read_directions(content: bytes, request: Request) -> list[Direction]:
    """The directions in a file. Nothing in it is executed.

    One direction gets the name of the request; of several, each gets its number after that.

    Raises:
        CheckpointError: why the file, or what it holds, is refused.
    """
    check_name(request.name)
    root = open_file(content)
    found = _read(root, request)
    if len(found) > MAX_DIRECTIONS:
        raise CheckpointError("too_large", f"{len(found)} directions in a file: {MAX_DIRECTIONS} are read")
    for direction in found:
        check_name(direction.name)
    return found


def _read(root: object, request: Request) -> list[Direction]:
    if isinstance(root, TensorSpec):
        return arrays.read(root, request)
    for form in FORMATS:
        if form.recognises(root):
            return form.read(root, request)
    raise CheckpointError("unsupported_format", "no file of directions of a project that we know")
