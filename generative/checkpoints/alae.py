"""ALAE: `.pth` files of podgorskiy/ALAE, alone or as a folder whose `last_checkpoint` names the newest.

A file holds `models`, state dicts by name, each network once as it is trained and once, with `_s`, as the
running mean of its weights. The means are what the official scripts serve; so do we.
"""

import re
from collections.abc import Mapping
from typing import Any

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import (
    Contents,
    Folder,
    Format,
    Network,
    make_state,
    shapes_of,
    tensor_specs,
)
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.tensors import TensorSpec
from generative.networks.alae import ALAEConfig
from generative.networks.alae_encoder import ALAEEncoderConfig

#: their names of state dicts -> where they are in our networks. The mean of w has no `_s` that is kept up.
_GENERATOR = {"mapping_fl_s": "mapping_fl.", "generator_s": "decoder.", "dlatent_avg": "dlatent_avg."}
_ENCODER = {"discriminator_s": "", "mapping_tl_s": "mapping_tl."}


def recognises(root: object) -> bool:
    """Whether the object holds an ALAE generator with styles."""
    models = _models(root)
    found = [models.get(name) for name in ("generator", "generator_s")]
    return any(isinstance(group, dict) and "decode_block.0.style_1.weight" in group for group in found)


def read(root: Any, budget: int) -> Contents:
    """The generator, and the encoder as `Contents.encoder`.

    Raises:
        CheckpointError: `missing_keys`, `bad_config`, and those of the tensors.
    """
    models = _models(root)
    if missing := {name for name in (*_GENERATOR, *_ENCODER) if not isinstance(models.get(name), dict)}:
        raise CheckpointError("missing_keys", f"the file lacks the networks {some_of(missing)}")
    specs = _specs(models, _GENERATOR)
    specs.pop("decoder.decode_block.0.blur.weight", None)  # never used: nothing is doubled there
    config = _generator_config(shapes_of(specs))
    beside = _specs(models, _ENCODER)
    beside_config = _encoder_config(shapes_of(beside))
    state = make_state(specs, "models", budget)
    left = budget - sum(4 * value.numel() for value in state.values())
    encoder = Network("alae_encoder", beside_config, make_state(beside, "models", left))
    return Contents("alae", Network("alae", config, state), encoder)


FORMAT = Format("alae", recognises, read)


def _models(root: object) -> Mapping[Any, Any]:
    """`models` of a file or of the newest file of a folder. The rest of a file is optimisers and counters."""
    if isinstance(root, Folder):
        path = root.get("last_checkpoint")
        if not isinstance(path, bytes):
            return {}
        root = root.get(re.split(r"[/\\]", path.decode(errors="replace").strip())[-1])
    models = root.get("models") if isinstance(root, dict) else None
    return models if isinstance(models, dict) else {}


def _specs(models: Mapping[Any, Any], names: Mapping[str, str]) -> dict[str, TensorSpec]:
    return {
        prefix + key: spec
        for name, prefix in names.items()
        for key, spec in tensor_specs(models[name], name).items()
    }


Shapes = Mapping[str, tuple[int, ...]]


def _generator_config(shapes: Shapes) -> ALAEConfig:
    blocks = _count(shapes, r"decoder\.to_rgb\.\d+\.to_rgb\.weight")
    rgb = [f"decoder.to_rgb.{i}.to_rgb.weight" for i in range(blocks)]
    fields = {
        "img_resolution": 2 << blocks,
        "channels": tuple(_size(shapes, name, 1) for name in rgb),
        "img_channels": _size(shapes, "decoder.to_rgb.0.to_rgb.weight", 0),
        "latent_dim": _size(shapes, "mapping_fl.map_blocks.0.fc.weight", 1),
        "mapping_layers": _count(shapes, r"mapping_fl\.map_blocks\.\d+\.fc\.weight"),
    }
    return read_config(ALAEConfig, fields)


def _encoder_config(shapes: Shapes) -> ALAEEncoderConfig:
    blocks = _count(shapes, r"from_rgb\.\d+\.from_rgb\.weight")
    channels = [_size(shapes, f"from_rgb.{i}.from_rgb.weight", 0) for i in range(blocks)]
    fields = {
        "img_resolution": 2 << blocks,
        "channels": (*channels, _size(shapes, f"encode_block.{blocks - 1}.conv_2.weight", 0)),
        "img_channels": _size(shapes, "from_rgb.0.from_rgb.weight", 1),
        "w_dim": _size(shapes, "mapping_tl.map_blocks.0.weight", 1),
        "critic_layers": _count(shapes, r"mapping_tl\.map_blocks\.\d+\.weight"),
    }
    return read_config(ALAEEncoderConfig, fields)


def _count(shapes: Shapes, pattern: str) -> int:
    return min(sum(re.fullmatch(pattern, name) is not None for name in shapes), 64)


def _size(shapes: Shapes, name: str, axis: int) -> int:
    if name not in shapes:
        raise CheckpointError("missing_keys", f"an ALAE network without {name}")
    if len(shapes[name]) <= axis:
        raise CheckpointError("bad_config", f"{name} has the shape {shapes[name]}")
    return shapes[name][axis]
