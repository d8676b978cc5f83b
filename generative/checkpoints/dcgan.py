"""DCGAN generators as PyTorch's example saves them, and csinva/gan-vae-pretrained-pytorch after it.

`netG_epoch_N.pth` is a bare state dict: every third module, `main.0`, `main.3`, ..., is a transposed
convolution, and batch normalisation follows all but the last. Sizes are read from shapes.
"""

from itertools import count, takewhile
from typing import Any

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.flat import Shapes, flat_shapes, without_counters
from generative.networks.dcgan import DCGANConfig

MNIST_CROP = 2  # pixels, the padding of the last layer of csinva's net for MNIST
MNIST_NOTE = (
    "taken for the net for MNIST, which cuts 2 pixels off each side of a grey picture; "
    "the net for grey CIFAR-100, which does not, has weights of the same shapes"
)


def _recognises(root: Any) -> bool:
    """A discriminator has no batch normalisation after its first layer."""
    shapes = flat_shapes(root)
    first = shapes.get("main.0.weight", ())
    return len(first) == 4 and first[2:] == (4, 4) and shapes.get("main.1.running_mean") == (first[1],)


def _read(root: Any, budget: int) -> Contents:
    shapes = flat_shapes(root)
    crop = MNIST_CROP if _is_grey_and_ends_in_1x1(shapes) else 0
    config = dcgan_config(shapes, crop=crop)
    state = make_state(without_counters(root), "the file", budget)
    return Contents("dcgan", Network("dcgan", config, state), notes=(MNIST_NOTE,) if crop else ())


FORMAT = Format("dcgan", _recognises, _read)


def dcgan_config(shapes: Shapes, **known: Any) -> DCGANConfig:
    """The configuration that the shapes of the layers imply; `known` is what they do not say.

    Raises:
        CheckpointError: `bad_config`.
    """
    convs = _convs(shapes)
    if len(convs) < 2 or any(len(shape) != 4 for shape in convs):
        raise CheckpointError("bad_config", "not the layers of a DCGAN")
    fields = {
        "z_dim": convs[0][0],
        "channels": tuple(shape[1] for shape in convs[:-1]),
        "img_channels": convs[-1][1],
        "last_kernel": convs[-1][2],
    }
    return read_config(DCGANConfig, fields | known)


def _convs(shapes: Shapes) -> list[tuple[int, ...]]:
    """(I, O, k, k) of every transposed convolution, in order."""
    names = (f"main.{i}.weight" for i in count(0, 3))
    return [shapes[name] for name in takewhile(shapes.__contains__, names)]


def _is_grey_and_ends_in_1x1(shapes: Shapes) -> bool:
    return _convs(shapes)[-1][1:] == (1, 1, 1)
