"""StyleGAN2 with the names of rosinality/stylegan2-pytorch, and of everything that grew from it.

Files of the converter hold `g_ema` and `latent_avg`; files of a training run hold `g_ema` and much else, but
no average of w. Neither stores the configuration: it is read from names and shapes.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.pickles import Inert
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.ops.upfirdn2d import fir_filter

NOISE_SEED = 0  # old files lack the constant noise; theirs was random too
AVERAGE_SAMPLES, AVERAGE_SEED = 10_000, 0
_NAMES = re.compile(r"(style|convs|to_rgbs|noises|conv1|to_rgb1|input)\.")


def _recognises(root: Any) -> bool:
    """A file of the training script always has a generator, its average and the discriminator."""
    network = root.get("g_ema", root.get("g")) if isinstance(root, dict) else None
    return isinstance(network, dict) and any(_NAMES.match(str(name)[:20]) for name in network)


def _read(root: Any, budget: int) -> Contents:
    if "g_ema" not in root:
        raise CheckpointError("missing_keys", "the file holds no g_ema, the average that is served")
    state = make_state(root["g_ema"], "g_ema", budget)
    average = root.get("latent_avg")
    if average is not None:
        average = make_state({"latent_avg": average}, "the file", budget)["latent_avg"]
    config = rosinality_config(state)
    _check_arguments(root.get("args"), config)
    notes = ["without noise buffers; ours are drawn from seed 0"] if "noises.noise_0" not in state else []
    ours = from_rosinality(state, average)
    if average is None:
        ours["mapping.w_avg"] = _average_w(config, ours)
        notes.append(f"without an average of w; ours is the mean of {AVERAGE_SAMPLES} samples")
    return Contents("rosinality", Network("stylegan2", config, ours), notes=tuple(notes))


FORMAT = Format("rosinality", _recognises, _read)


def _check_arguments(args: object, config: StyleGAN2Config) -> None:
    """A training run saves its command line, which must not contradict the weights."""
    if not isinstance(args, Inert) or not isinstance(args.state, dict):
        return
    weights = {"size": config.img_resolution, "latent": config.w_dim, "n_mlp": config.mapping_layers}
    for name, value in weights.items():
        if args.state.get(name, value) != value:
            raise CheckpointError("bad_config", f"{name} is {value} by the weights, not by the arguments")


def _average_w(config: StyleGAN2Config, state: Mapping[str, Tensor]) -> Tensor:
    """Estimate the mean of w, as rosinality's scripts do before they truncate -> (w_dim,).

    Zeros for a mapping that does not fit: the check of all weights will say so.
    """
    mapping = Generator(config).mapping
    own = {name.removeprefix("mapping."): t for name, t in state.items() if name.startswith("mapping.")}
    own["w_avg"] = torch.zeros(config.w_dim)
    expected = {name: value.shape for name, value in mapping.state_dict().items()}
    if {name: value.shape for name, value in own.items()} != expected:
        return own["w_avg"]
    mapping.load_state_dict(own)
    rng = torch.Generator().manual_seed(AVERAGE_SEED)
    with torch.no_grad():
        w: Tensor = mapping(torch.randn(AVERAGE_SAMPLES, config.z_dim, generator=rng))
    return w.mean(dim=0)


def rosinality_config(state: Mapping[str, Tensor]) -> StyleGAN2Config:
    """The configuration that the shapes of `g_ema` imply.

    Raises:
        CheckpointError: `missing_keys`, `bad_config`.
    """
    convs = [name for name in state if re.fullmatch(r"convs\.\d{1,2}\.conv\.weight", name)]
    mapping = [name for name in state if re.fullmatch(r"style\.\d{1,2}\.weight", name)]
    needed = {"input.input", "style.1.weight", "to_rgb1.conv.weight"}
    needed |= {f"convs.{i}.conv.weight" for i in range(len(convs))}
    if missing := needed - set(state):
        raise CheckpointError("missing_keys", f"not a rosinality generator, it lacks {some_of(missing)}")
    shapes = {name: state[name].shape for name in (*needed, *mapping)}
    if len(convs) % 2 or any(len(shapes[name]) < 2 for name in needed):
        raise CheckpointError("bad_config", "the layers of the generator do not go together")
    channels = [(4, shapes["input.input"][1])]
    channels += [(8 << k, shapes[f"convs.{2 * k}.conv.weight"][1]) for k in range(len(convs) // 2)]
    return read_config(
        StyleGAN2Config,
        {
            "img_resolution": 4 << (len(convs) // 2),
            "img_channels": shapes["to_rgb1.conv.weight"][1],
            "z_dim": shapes["style.1.weight"][1],
            "w_dim": shapes["style.1.weight"][0],
            "mapping_layers": len(mapping),
            "channels": tuple(channels),
        },
    )


def from_rosinality(state: Mapping[str, Tensor], latent_avg: Tensor | None) -> dict[str, Tensor]:
    """The state_dict with our names, from `g_ema`. Without `latent_avg`, `mapping.w_avg` is left out.

    Names that are not known are kept as they are, so that the check against the architecture names them.
    """
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        ours.update(_translate(name, value))
    rng = torch.Generator().manual_seed(NOISE_SEED)
    for k in range(-1, 2 * len(rosinality_config(state).resolutions) - 2):
        layer = _conv_layer(k)
        block, size = layer.rsplit(".", 1)[0], 4 if k < 0 else 8 << (k // 2)
        for name in (f"{layer}.resample_filter", f"{block}.resample_filter"):
            ours.setdefault(name, fir_filter((1, 3, 3, 1)))
        ours.setdefault(f"{layer}.noise_const", torch.randn(size, size, generator=rng))
    if latent_avg is not None:
        average = _without_ones(latent_avg, 1)
        ours["mapping.w_avg"] = average[0] if average.ndim == 2 and len(average) else average
    return ours


def _translate(name: str, value: Tensor) -> dict[str, Tensor]:
    """One of their tensors under our name, without the leading axes of 1 that theirs have."""
    if match := re.fullmatch(r"style\.([1-9]\d?)\.(weight|bias)", name):
        return {f"mapping.fc{int(match[1]) - 1}.{match[2]}": value}
    if match := re.fullmatch(r"noises\.noise_(\d{1,2})", name):
        return {f"{_conv_layer(int(match[1]) - 1)}.noise_const": _without_ones(value, 2)}
    if name == "input.input":
        return {"synthesis.b4.const": _without_ones(value, 3)}
    if match := re.fullmatch(r"(conv1|convs\.(\d{1,2}))\.(.+)", name):
        return _in_layer(_conv_layer(int(match[2] or -1)), match[3], name, value)
    if match := re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,2}))\.(.+)", name):
        return _in_layer(f"synthesis.b{8 << int(match[2]) if match[2] else 4}.torgb", match[3], name, value)
    return {name: value}


def _conv_layer(k: int) -> str:
    """Their `convs.k`, and `conv1` for k = -1."""
    return "synthesis.b4.conv1" if k < 0 else f"synthesis.b{8 << (k // 2)}.conv{k % 2}"


def _in_layer(layer: str, rest: str, name: str, value: Tensor) -> dict[str, Tensor]:
    """Both kinds of layer have the same parts. Stored filters have the gain 4 of upsampling in them."""
    match rest:
        case "conv.weight":
            return {f"{layer}.weight": _without_ones(value, 4)}
        case "conv.modulation.weight" | "conv.modulation.bias":
            return {f"{layer}.affine.{rest.rsplit('.', 1)[1]}": value}
        case "activate.bias" | "bias":
            return {f"{layer}.bias": value.squeeze() if value.ndim > 1 else value}
        case "noise.weight":
            return {f"{layer}.noise_strength": _without_ones(value, 0)}
        case "conv.blur.kernel":
            return {f"{layer}.resample_filter": value / 4}
        case "upsample.kernel":
            return {f"{layer.removesuffix('.torgb')}.resample_filter": value / 4}
    return {name: value}


def _without_ones(value: Tensor, ndim: int) -> Tensor:
    """Without its leading axes of 1, down to `ndim` axes; other shapes stay, and will be found wrong."""
    while value.ndim > ndim and value.shape[0] == 1:
        value = value[0]
    return value
