"""EigenGAN as bryandlee/eigengan-pytorch saves it: a `.pt` dictionary of `step`, `args`, `g`, `g_ema`, and
more of the training. `g_ema`, the running average, is served. Sizes are read from shapes.
"""

from typing import Any

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.flat import Shapes, flat_shapes
from generative.checkpoints.pickles import Inert
from generative.networks.eigengan import EigenGANConfig


def _recognises(root: Any) -> bool:
    """Files of other codes have a `g_ema` too, but no subspaces in it."""
    return isinstance(root, dict) and "blocks.0.projection.U" in flat_shapes(root.get("g_ema"))


def _read(root: Any, budget: int) -> Contents:
    config = _config(flat_shapes(root["g_ema"]))
    _check_arguments(root.get("args"), config)
    state = make_state(root["g_ema"], "g_ema", budget)
    return Contents("eigengan-pytorch", Network("eigengan", config, state))


FORMAT = Format("eigengan-pytorch", _recognises, _read)


def _config(shapes: Shapes) -> EigenGANConfig:
    levels = sum(name.endswith(".projection.U") for name in shapes)
    bases = [shapes.get(f"blocks.{i}.projection.U", ()) for i in range(levels)]
    mixing = [shapes.get(f"blocks.{i}.subspace_conv1.0.weight", ()) for i in range(levels)]  # (I, I, 1, 1)
    fc, to_rgb = shapes.get("fc.weight", ()), shapes.get("to_rgb.0.1.weight", ())
    if [len(s) for s in (*bases, *mixing, fc, to_rgb)] != [2] * levels + [4] * levels + [2, 4]:
        raise CheckpointError("bad_config", "not the layers of an EigenGAN")
    fields = {
        "noise_dim": fc[1],
        "n_basis": tuple(shape[0] for shape in bases),
        "channels": (*(shape[0] for shape in mixing), to_rgb[1]),
        "img_channels": to_rgb[0],
    }
    return read_config(EigenGANConfig, fields)


def _check_arguments(args: object, config: EigenGANConfig) -> None:
    """A training run saves its command line, which must not contradict the weights."""
    if not isinstance(args, Inert) or not isinstance(args.state, dict):
        return
    weights = {
        "size": config.img_resolution,
        "n_basis": config.n_basis[0],
        "noise_dim": config.noise_dim,
        "base_channels": config.channels[-1],
    }
    for name, value in weights.items():
        if args.state.get(name, value) != value:
            raise CheckpointError("bad_config", f"{name} is {value} by the weights, not by the arguments")
