"""In-domain inversion: `styleganinv_<set>_generator.pth` of genforce/idinvert_pytorch, alone or in a folder
with `styleganinv_<set>_encoder.pth`. Both are bare state dicts; the configurations are read from names and
shapes.
"""

from dataclasses import replace
from typing import Any

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Folder, Format, Network, shapes_of, tensor_specs
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.flat import without_counters
from generative.checkpoints.genforce import family_of, read_stylegan
from generative.checkpoints.genforce_configs import Shapes, length, shape_of
from generative.checkpoints.tensors import make_tensors
from generative.networks.idinvert import IdInvertConfig
from generative.networks.idinvert_encoder import IdInvertEncoderConfig


def _recognises(root: object) -> bool:
    """A generator, or a folder with one and an encoder; what else lies there, `vgg16.pth`, is not needed."""
    if not isinstance(root, Folder):
        return family_of(root) == "idinvert"
    kinds = [_kind(file) for file in root.values()]
    return kinds.count("generator") == kinds.count("encoder") == 1


def _kind(file: object) -> str | None:
    if isinstance(file, dict) and {"block0.conv.weight", "block1.conv1.weight"} <= set(file):
        return "encoder"
    return "generator" if family_of(file) == "idinvert" else None


def _read(root: Any, budget: int) -> Contents:
    if not isinstance(root, Folder):
        return read_stylegan("idinvert", IdInvertConfig, root, budget)
    files = {_kind(file): file for file in root.values()}
    contents = read_stylegan("idinvert", IdInvertConfig, files["generator"], budget)
    made = sum(4 * value.numel() for value in contents.generator.state.values())
    encoder = read_encoder(files["encoder"], budget - made)
    ours, theirs = contents.generator.config, encoder.config
    if (ours.img_resolution, ours.w_dim) != (theirs.img_resolution, theirs.w_dim):
        raise CheckpointError("bad_config", "generator and encoder differ in the size of pictures or of w")
    return replace(contents, encoder=encoder)


FORMAT = Format("genforce-idinvert", _recognises, _read)


def read_encoder(group: object, budget: int) -> Network:
    """The encoder, from its bare state dict.

    Raises:
        CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`, and those of the tensors.
    """
    specs = without_counters(tensor_specs(group, "the encoder"))
    config = _encoder_config(shapes_of(specs))
    return Network("idinvert_encoder", config, make_tensors(specs, budget))


def _encoder_config(shapes: Shapes) -> IdInvertEncoderConfig:
    """Blocks that halve the size lie between `block0` and the last one, which makes the ws."""
    first = shape_of(shapes, "block0.conv.weight", 4)
    halvings = length(shapes, "block{}.conv1.weight", start=1)
    outputs = [shape_of(shapes, f"block{i}.conv2.weight", 4)[0] for i in range(1, halvings + 1)]
    channels = (first[0], *outputs)
    numbers = shape_of(shapes, f"block{halvings + 1}.fc.weight", 2)[0]
    fields = {"img_resolution": 4 << halvings, "img_channels": first[1], "channels": channels}
    return read_config(IdInvertEncoderConfig, fields | {"w_dim": numbers // (2 * len(channels))})
