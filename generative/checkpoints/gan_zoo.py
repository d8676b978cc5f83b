"""DCGAN and progressive GAN of facebookresearch/pytorch_GAN_zoo: a `.pth` dictionary of `config`, `netG`,
`netD`, `avgG`, and from a training run `tmp`.

`avgG`, the running average, is served. `config` is a dictionary or, as the zoo's own code leaves it, an
instance of its `BaseConfig`; what it says must agree with the weights.
"""

import re
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Any

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state, shapes_of
from generative.checkpoints.dcgan import dcgan_config
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.flat import Shapes, flat_shapes, without_counters
from generative.checkpoints.pickles import Inert
from generative.checkpoints.tensors import TensorSpec
from generative.networks.gan_zoo_pgan import ZooPGANConfig

NO_AVERAGE = "the file has no average of its generator, which is served as it was at the end"
NO_STATISTICS = "the average has no BatchNorm statistics; the generator is served as it was at the end"
_COUNTER = "main.batchNorm0.num_batches_tracked"
_TANH = ("DCGAN", "MSE")  # the criteria for which the zoo's generators end in tanh; the others end in nothing


def _settings(root: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """The zoo's configuration of a file: names to values, which may be anything."""
    config = root.get("config")
    config = config.state if isinstance(config, Inert) else config
    return config if isinstance(config, dict) else {}


def _generator(root: object) -> Shapes:
    """The shapes of the average, else of the generator itself. Empty if this is no file of the zoo."""
    if not isinstance(root, dict) or not isinstance(root.get("config"), dict | Inert):
        return {}
    return flat_shapes(root.get("avgG")) or flat_shapes(root.get("netG"))


def _check(settings: Mapping[Any, Any], found: Mapping[str, object]) -> None:
    """The configuration may be silent but not contradict the weights, and classes are not understood."""
    if settings.get("categoryVectorDim"):
        raise CheckpointError("unsupported_format", "a GAN zoo model with classes (AC-GAN)")
    for name, value in found.items():
        if settings.get(name, value) != value:
            raise CheckpointError("bad_config", f"{name} is {value} by the weights, not by the configuration")


# --- DCGAN -----------------------------------------------------------------------------------------------


def _read_dcgan(root: Any, budget: int) -> Contents:
    name, notes = _averaged(root)
    specs = _translated(without_counters(root[name]))
    settings = _settings(root)
    config = dcgan_config(shapes_of(specs), tanh=settings.get("lossCriterion", "DCGAN") in _TANH)
    found = {
        "latentVectorDim": config.z_dim,
        "dimG": config.channels[-1],
        "depth": len(config.channels) - 1,
        "dimOutput": config.img_channels,
    }
    _check(settings, found)
    return Contents("gan-zoo-dcgan", Network("dcgan", config, make_state(specs, name, budget)), notes=notes)


def _averaged(root: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Which generator is served, and why if it is not the average.

    The zoo averages parameters only: the BatchNorm statistics of `avgG` are of the batches that it painted
    itself, and if it never did, they mean nothing.
    """
    if not flat_shapes(root.get("avgG")):
        return "netG", (NO_AVERAGE,)
    counter = root["avgG"].get(_COUNTER)
    painted = not isinstance(counter, TensorSpec) or bool(counter.make().any())
    if painted or not flat_shapes(root.get("netG")):
        return "avgG", ()
    return "netG", (NO_STATISTICS,)


def _translated(theirs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """A state dict with the names of `generative.networks.dcgan`. Names that are not known stay.

    Raises:
        CheckpointError: `unexpected_keys` if two of its names are the same one of ours.
    """
    last = sum(bool(re.fullmatch(r"main\.convTranspose\d+\.weight", name)) for name in theirs) + 1
    ours = {_our_name(name, last): spec for name, spec in theirs.items()}
    if len(ours) != len(theirs):
        raise CheckpointError("unexpected_keys", "the generator has a layer twice, by different names")
    return ours


def _our_name(name: str, last: int) -> str:
    if match := re.fullmatch(r"main\.(convTranspose|batchNorm)(\d{1,3})\.(\w+)", name):
        return f"main.{3 * int(match[2]) + (match[1] == 'batchNorm')}.{match[3]}"
    ends = {"formatLayer.weight": "main.0.weight", "main.outlayer.weight": f"main.{3 * last}.weight"}
    return ends.get(name, name)


DCGAN = Format("gan-zoo-dcgan", lambda root: "formatLayer.weight" in _generator(root), _read_dcgan)


# --- progressive GAN -------------------------------------------------------------------------------------


def _is_pgan(root: Any) -> bool:
    shapes = _generator(root)
    return "formatLayer.module.weight" in shapes and "formatLayer.weight" not in shapes


def _read_pgan(root: Any, budget: int) -> Contents:
    averaged = bool(flat_shapes(root.get("avgG")))
    name = "avgG" if averaged else "netG"
    settings = _settings(root)
    if not (settings.get("perChannelNormalization", True) and settings.get("equalizedlR", True)):
        raise CheckpointError("unsupported_format", "a GAN zoo PGAN without pixel norm or equalised rate")
    config = _pgan_config(flat_shapes(root[name]), settings)
    found = {
        "latentVectorDim": config.z_dim,
        "depthScale0": config.channels[0],
        "depthOtherScales": list(config.channels[1:]),
        "dimOutput": config.img_channels,
    }
    _check(settings, found)
    state = make_state(root[name], name, budget)
    notes = () if averaged else (NO_AVERAGE,)
    return Contents("gan-zoo-pgan", Network("gan_zoo_pgan", config, state), notes=notes)


def _pgan_config(shapes: Shapes, settings: Mapping[Any, Any]) -> ZooPGANConfig:
    names = (f"toRGBLayers.{i}.module.weight" for i in count())
    painters = [shapes[name] for name in takewhile(shapes.__contains__, names)]
    first = shapes.get("formatLayer.module.weight", ())
    if not painters or len(first) != 2 or any(len(shape) != 4 for shape in painters):
        raise CheckpointError("bad_config", "not the layers of a GAN zoo PGAN")
    fields = {
        "z_dim": first[1],
        "channels": tuple(shape[1] for shape in painters),
        "img_channels": painters[0][0],
        "alpha": settings.get("alpha", 0.0),
        "slope": settings.get("leakyReluLeak", 0.2),
        "tanh": settings.get("lossCriterion", "WGANGP") in _TANH,
    }
    return read_config(ZooPGANConfig, fields)


PGAN = Format("gan-zoo-pgan", _is_pgan, _read_pgan)
