"""BigGAN and BigGAN-deep with the names of ajbrock/BigGAN-PyTorch.

A training run leaves a folder of `.pth` files: state dicts of the generator (`G.pth`), of its moving average
(`G_ema.pth`) and of the discriminator (`D.pth`), optimisers (`G_optim.pth`), and `state_dict.pth`, whose
`config` holds the settings. A state dict alone is enough: the architecture is read from its shapes.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

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
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.spectral_norms import divide_after_a_step
from generative.checkpoints.tensors import TensorSpec
from generative.networks.biggan import BigGANConfig
from generative.networks.biggan_deep import BigGANDeepConfig

NAME = "ajbrock-biggan"
SN_EPS = 1e-6  # of the launch scripts
RELUS = ("relu", "inplace_relu", "ir")  # the official code's names of its one activation
NEEDED = (
    "linear.weight",
    "blocks.0.0.conv1.weight",
    "blocks.0.0.bn1.gain.weight",
    "output_layer.0.gain",
    "output_layer.2.weight",
)
#: the official architectures: channels, over G_ch, before the first and after each doubling of the size
STAGES = ((4, 4, 4, 4), (16, 16, 8, 4, 2), (16, 16, 8, 4, 2, 1), (16, 16, 8, 8, 4, 2, 1))
STATISTICS = {"stored_mean": "mean", "stored_var": "var", "running_mean": "mean", "running_var": "var"}
#: u0 goes into the weights and accumulation_counter into the statistics. The others are for logs and for
#: training: further singular vectors, the last singular values, how many batches there were
BESIDE = re.compile(r".*\.(u\d+|sv\d+|accumulation_counter|num_batches_tracked)")
RENAMED = (
    (re.compile(r"^blocks\.(\d+)\.0\."), r"blocks.\1."),
    (re.compile(r"^blocks\.(\d+)\.1\."), r"attention.\1."),
    (re.compile(r"^output_layer\.0\."), "output_norm."),
    (re.compile(r"^output_layer\.2\."), "rgb."),
)

Shapes = Mapping[str, tuple[int, ...]]


def recognises(root: Any) -> bool:
    """A generator's state dict, or a folder with one and nothing foreign."""
    if not isinstance(root, Folder):
        return _is_generator(root)
    return any(map(_is_generator, root.values())) and all(map(_belongs, root.values()))


def read(root: Any, budget: int) -> Contents:
    """Raises CheckpointError."""
    group, settings, notes = _parts(root)
    shapes = shapes_of(tensor_specs(group, "the generator"))
    if settings.get("G_nl", "relu") not in RELUS:
        raise CheckpointError("bad_config", "an activation that is not ReLU")
    deep = "blocks.0.0.conv4.weight" in shapes
    config = _deep_config(shapes, settings) if deep else _config(shapes, settings)
    if settings.get("resolution") not in (None, 4 * config.img_resolution // config.bottom_width):
        raise CheckpointError("bad_config", f"not {config.img_resolution} pixels by the settings")
    state = _translated(make_state(group, "the generator", budget), _sn_eps(settings), config.shared_dim > 0)
    if not settings:
        notes += (f"without a state_dict.pth: SN_eps is taken to be {SN_EPS:g}, BN_eps {config.bn_eps:g}",)
    if "blocks.0.0.bn1.bn.running_mean" in shapes:
        notes += ("synchronised BatchNorm, whose gain multiplies as in training",)
    return Contents(NAME, Network("biggan_deep" if deep else "biggan", config, state), notes=notes)


FORMAT = Format(NAME, recognises, read)


def _is_generator(group: Any) -> bool:
    return isinstance(group, dict) and all(isinstance(group.get(name), TensorSpec) for name in NEEDED)


def _is_run(member: Any) -> bool:
    return isinstance(member, dict) and isinstance(member.get("config"), dict)


def _belongs(member: Any) -> bool:
    """Generator, settings, discriminator, optimiser, or a file of another kind such as a log."""
    if isinstance(member, bytes) or _is_generator(member) or _is_run(member):
        return True
    return isinstance(member, dict) and ("embed.weight" in member or {"state", "param_groups"} <= set(member))


def _parts(root: Any) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    """The generator to be served, the settings of its training, and notes.

    G and G_ema have the same keys and shapes: between them the names of the files decide.
    """
    if not isinstance(root, Folder):
        return root, {}, ()
    ordered = sorted(root, key=lambda name: (not _is_average(name), len(name), name))
    generators = [name for name in ordered if _is_generator(root[name])]
    runs = [root[name]["config"] for name in ordered if _is_run(root[name])]
    note = f"{generators[0][:100]}, of {len(generators)} generators in the folder"
    if _is_average(generators[0]):
        note += ": by its name it is the moving average"
    return root[generators[0]], runs[0] if runs else {}, (note,)


def _is_average(name: str) -> bool:
    return re.search(r"(^|_)ema(_|\.|$)", name.rsplit("/", 1)[-1].lower()) is not None


def _sn_eps(settings: Mapping[str, Any]) -> float:
    eps = settings.get("SN_eps", SN_EPS)
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise CheckpointError("bad_config", "SN_eps is not between 0 and 1")
    return eps


def shape_of(shapes: Shapes, name: str, dimensions: int) -> tuple[int, ...]:
    """Raises CheckpointError: `missing_keys`, `wrong_shapes`."""
    if name not in shapes:
        raise CheckpointError("missing_keys", f"not a generator of BigGAN, it lacks {name}")
    if len(shapes[name]) != dimensions:
        raise CheckpointError("wrong_shapes", f"{name} is {shapes[name]}, not of {dimensions} dimensions")
    return shapes[name]


def _config(shapes: Shapes, settings: Mapping[str, Any]) -> BigGANConfig:
    """Raises CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`."""
    fields = _fields(shapes, settings, "conv2")
    z_width, gain = shape_of(shapes, "linear.weight", 2)[1], shape_of(shapes, "blocks.0.0.bn1.gain.weight", 2)
    if "shared.weight" not in shapes:
        fields |= {"c_dim": gain[0], "shared_dim": 0, "z_dim": z_width, "hierarchical": False}
        return read_config(BigGANConfig, fields)
    classes, shared_dim = shape_of(shapes, "shared.weight", 2)
    chunk = gain[1] - shared_dim  # of a hierarchical z, which a block takes beside the embedding
    if chunk not in (0, z_width):
        raise CheckpointError("bad_config", f"blocks take {chunk} numbers of z, the first layer {z_width}")
    z_dim = z_width * len(fields["channels"]) if chunk else z_width
    fields |= {"c_dim": classes, "shared_dim": shared_dim, "z_dim": z_dim, "hierarchical": chunk > 0}
    return read_config(BigGANConfig, fields)


def _deep_config(shapes: Shapes, settings: Mapping[str, Any]) -> BigGANDeepConfig:
    """Raises CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`."""
    fields = _fields(shapes, settings, "conv4")
    classes, shared_dim = shape_of(shapes, "shared.weight", 2)
    width = shape_of(shapes, "linear.weight", 2)[1]
    fields |= {"c_dim": classes, "shared_dim": shared_dim, "z_dim": width - shared_dim}
    fields["depth"] = settings["G_depth"] if "G_depth" in settings else _depth(fields["channels"])
    return read_config(BigGANDeepConfig, fields)


def _fields(shapes: Shapes, settings: Mapping[str, Any], last_conv: str) -> dict[str, Any]:
    """What both networks have."""
    count = sum(re.fullmatch(r"blocks\.\d{1,2}\.0\.conv1\.weight", name) is not None for name in shapes)
    inputs = [shape_of(shapes, f"blocks.{i}.0.conv1.weight", 4)[1] for i in range(count)]
    last = shape_of(shapes, f"blocks.{count - 1}.0.{last_conv}.weight", 4)[0]
    fields = {
        "channels": (*inputs, last),
        "attention": tuple(i for i in range(count) if f"blocks.{i}.1.theta.weight" in shapes),
        "bottom_width": math.isqrt(shape_of(shapes, "linear.weight", 2)[0] // max(inputs[0], 1)),
    }
    return fields | ({"bn_eps": settings["BN_eps"]} if "BN_eps" in settings else {})


def _depth(channels: tuple[int, ...]) -> int:
    """Blocks for each size, which no shape tells: as many as give an official architecture these channels."""
    for stages in STAGES:
        depth = (len(channels) - 1) // (len(stages) - 1)
        expected = [times for times in stages[:-1] for _ in range(depth)] + [stages[-1]]
        if [width * stages[-1] for width in channels] == [times * channels[-1] for times in expected]:
            return depth
    raise CheckpointError("bad_config", "which blocks double the size is only in the missing state_dict.pth")


def _translated(theirs: dict[str, Tensor], eps: float, shared: bool) -> dict[str, Tensor]:
    """The state with our names. Names that are not known are kept, so that the check against the architecture
    names them.
    """
    names = [name for name in theirs if not BESIDE.fullmatch(name)]
    ours = {_our_name(name): _our_value(name, theirs, eps, shared) for name in names}
    if len(ours) < len(names):
        raise CheckpointError("malformed", "two tensors that mean the same")
    return ours


def _our_name(name: str) -> str:
    layer, _, part = name.rpartition(".")
    if part in STATISTICS:
        name = f"{layer.removesuffix('.bn')}.{STATISTICS[part]}"
    for pattern, ours in RENAMED:
        name = pattern.sub(ours, name)
    return name


def _our_value(name: str, theirs: Mapping[str, Tensor], eps: float, shared: bool) -> Tensor:
    layer, _, part = name.rpartition(".")
    value = theirs[name]
    if part in STATISTICS:
        return _statistic(name, value, theirs.get(f"{layer}.accumulation_counter"))
    if name == "shared.weight" or (not shared and re.fullmatch(r".*\.bn\d\.(gain|bias)\.weight", name)):
        # they look up rows, we multiply by one-hot vectors, for mixtures of classes
        return value.T.contiguous() if value.ndim == 2 else value
    if part == "weight" and f"{layer}.u0" in theirs:
        return divide_after_a_step(name, value, theirs[f"{layer}.u0"], eps)
    return value


def _statistic(name: str, value: Tensor, count: Tensor | None) -> Tensor:
    """Standing statistics are sums over so many batches; with a count of 0 they are averages already."""
    if count is not None and count.numel() != 1:
        raise CheckpointError("wrong_shapes", f"the count of batches for {name[:100]} is not one number")
    if name.endswith("_var") and (value < 0).any():
        raise CheckpointError("non_finite", f"{name[:100]}: a variance below zero has no square root")
    return value / count if count is not None and count >= 1 else value
