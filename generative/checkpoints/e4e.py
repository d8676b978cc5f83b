"""Files of encoder4editing, pixel2style2pixel and restyle-encoder: `state_dict` with `encoder.` and
`decoder.` names, `opts` and `latent_avg`. The decoder is a StyleGAN2 with the names of
rosinality/stylegan2-pytorch.

`opts` is asked for one thing, the class of the encoder: e4e and pSp have the same names and shapes. All sizes
are read from the weights; the official code of e4e, too, does not trust the size in `opts`.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby, takewhile
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints import rosinality
from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state, shapes_of, tensor_specs
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.flat import Shapes, without_counters
from generative.checkpoints.pickles import Inert
from generative.checkpoints.tensors import TensorSpec, make_tensors
from generative.networks.psp_encoder import StyleMapEncoderConfig

#: class of the encoder in the official codes -> our network
NETWORKS = {
    "GradualStyleEncoder": "psp_encoder",
    "ResNetGradualStyleEncoder": "psp_encoder",
    "BackboneEncoder": "psp_encoder",
    "ResNetBackboneEncoder": "psp_encoder",
    "Encoder4Editing": "e4e_encoder",
    "ProgressiveBackboneEncoder": "e4e_encoder",
    "ResNetProgressiveBackboneEncoder": "e4e_encoder",
}


def _recognises(root: Any) -> bool:
    state = root.get("state_dict") if isinstance(root, dict) else None
    return isinstance(state, dict) and any(
        isinstance(name, str) and name.startswith("encoder.styles.") for name in state
    )


def _read(root: Any, budget: int) -> Contents:
    # Beside these, files of a training run hold optimisers and the discriminator of codes, which end with it.
    specs = tensor_specs(root["state_dict"], "state_dict")
    if foreign := [n for n in specs if not n.startswith(("encoder.", "decoder."))]:
        raise CheckpointError(
            "unexpected_keys", f"neither encoder nor decoder: {some_of(n[:100] for n in foreign)}"
        )
    name = _network(root.get("opts"))
    average = root.get("latent_avg")
    decoder = {n.removeprefix("decoder."): spec for n, spec in specs.items() if n.startswith("decoder.")}
    contents = rosinality.FORMAT.read({"g_ema": decoder, "latent_avg": average}, budget)
    budget -= sum(4 * value.numel() for value in contents.generator.state.values())

    theirs = {n.removeprefix("encoder."): spec for n, spec in specs.items() if n.startswith("encoder.")}
    ours = {_our_name(n): spec for n, spec in without_counters(theirs).items()}
    config, generator = _config(shapes_of(ours)), contents.generator.config
    if (config.num_ws, config.w_dim) != (generator.num_ws, generator.w_dim):
        raise CheckpointError("bad_config", "encoder and decoder differ in the number or the width of the ws")
    restyle = config.img_channels == 2 * generator.img_channels
    state = make_tensors(ours, budget) | {"latent_avg": _average(average, config, restyle, budget)}
    kind = ("restyle-" if restyle else "") + name.removesuffix("_encoder")
    return replace(contents, format=kind, encoder=Network(name, config, state))


FORMAT = Format("e4e", _recognises, _read)


def _network(opts: object) -> str:
    """Newer scripts save the arguments as a plain dictionary, older ones as they were parsed."""
    arguments = opts.state if isinstance(opts, Inert) else opts
    encoder = arguments.get("encoder_type") if isinstance(arguments, Mapping) else None
    if not isinstance(encoder, str) or encoder not in NETWORKS:
        raise CheckpointError("bad_config", f"encoder_type {str(encoder)[:100]!r} in opts is not one we read")
    return NETWORKS[encoder]


def _our_name(name: str) -> str:
    """All but the heads and what makes the pyramid belongs to the trunk."""
    return name if name.startswith(("styles.", "latlayer")) else f"trunk.{name}"


def _config(shapes: Shapes) -> StyleMapEncoderConfig:
    """Stages of the trunk differ in their channels.

    Raises:
        CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`.
    """
    residual = "trunk.conv1.weight" in shapes
    first = "trunk.conv1.weight" if residual else "trunk.input_layer.0.weight"
    last = "trunk.body.{}.conv2.weight" if residual else "trunk.body.{}.res_layer.3.weight"
    blocks = takewhile(shapes.__contains__, map(last.format, range(1000)))
    stages = [(C, len(list(same))) for C, same in groupby(_axes(shapes, block)[0] for block in blocks)]
    styles = takewhile(shapes.__contains__, map("styles.{}.linear.weight".format, range(1000)))
    fields = {
        "num_ws": len(list(styles)),
        "img_channels": _axes(shapes, first)[1],
        "trunk": "resnet34" if residual else "ir_se50",
        "channels": tuple(C for C, _ in stages),
        "depths": tuple(depth for _, depth in stages),
        "pyramid": "latlayer1.weight" in shapes,
    }
    return read_config(StyleMapEncoderConfig, fields)


def _axes(shapes: Shapes, name: str) -> tuple[int, ...]:
    """The shape of a convolution."""
    if name not in shapes:
        raise CheckpointError("missing_keys", f"missing: {name}")
    if len(shapes[name]) != 4:
        raise CheckpointError("wrong_shapes", f"{name} {shapes[name]} is not a convolution")
    return shapes[name]


def _average(average: TensorSpec | None, config: StyleMapEncoderConfig, restyle: bool, budget: int) -> Tensor:
    """(num_ws, w_dim), what codes are distances from. Training saves it if it made use of it."""
    if average is None and restyle:
        raise CheckpointError("missing_keys", "the file holds no latent_avg, which ReStyle begins with")
    if average is None:
        return torch.zeros(config.num_ws, config.w_dim)
    made = make_state({"latent_avg": average}, "the file", budget)["latent_avg"]
    one = made.numel() == config.w_dim == made.shape[-1]
    return made.reshape(1, -1).repeat(config.num_ws, 1) if one else made
