"""Names of the models of genforce from before genforce/genforce, and what they are called there.

In genforce/interfacegan and genforce/idinvert_pytorch a weight is inside of the layer that uses it (`conv`;
`fc` or `linear`), its bias in the layer that scales the output (`wscale`), and a StyleGAN layer keeps all
that follows its convolution in `epilogue`.

Measured are the names of idinvert_pytorch, in files without fused up convolutions; these are taken to be
`synthesis.layerN.weight` of shape (k, k, I, O). Of interfacegan it is known that it says `linear` for `fc`;
the rest is taken to be alike, with `first_layer` or `const` for the constant, and `conv` and `wscale` in
PGGAN. A name that is not understood stays as it is, and will be refused by name; so will be other shapes.

Axis letters: I channels in, O channels out, k kernel.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Literal

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec
from generative.networks.stylegan import FUSED_FROM

_RENAMED = [
    (re.compile(old), new)
    for old, new in (
        (r"(mapping\.dense\d+)\.(?:fc|linear)\.weight", r"\1.weight"),
        (r"(mapping\.dense\d+)\.wscale\.bias", r"\1.bias"),
        (r"(synthesis\.layer0)\.first_layer", r"\1.const"),
        (r"(synthesis\.layer\d+)\.epilogue\.(bias|apply_noise\.weight|apply_noise\.noise)", r"\1.\2"),
        (r"(synthesis\.layer\d+)\.epilogue\.style_mod\.dense\.(?:fc|linear)\.weight", r"\1.style.weight"),
        (r"(synthesis\.layer\d+)\.epilogue\.style_mod\.dense\.wscale\.bias", r"\1.style.bias"),
        (r"((?:synthesis\.)?(?:layer|output)\d+)\.conv\.weight", r"\1.weight"),
        (r"((?:layer|output)\d+)\.wscale\.bias", r"\1.bias"),
    )
]
_FUSED = re.compile(r"synthesis\.layer(\d{1,2})\.weight")


def modern_name(name: str) -> str:
    """What genforce/genforce calls it."""
    for old, new in _RENAMED:
        if match := old.fullmatch(name):
            return match.expand(new)
    return name


def is_older(names: Iterable[str]) -> bool:
    """Whether these are names from before genforce/genforce."""
    return any(modern_name(name) != name for name in names)


def fused_scale(names: Collection[str], blocks: int) -> bool | Literal["auto"] | None:
    """Which up convolutions of a StyleGAN are fused, as older names show it; None for others, which do not.

    Raises:
        CheckpointError: `bad_config` for a choice that the official code does not have.
    """
    if not is_older(names):
        return None
    fused = {int(match[1]) for match in map(_FUSED.fullmatch, names) if match}
    ups = range(2, 2 * blocks, 2)
    choices: dict[bool | Literal["auto"], set[int]] = {
        "auto": {i for i in ups if 4 << i // 2 >= FUSED_FROM},
        True: set(ups),
        False: set(),
    }
    for choice, layers in choices.items():
        if layers == fused:
            return choice
    raise CheckpointError("bad_config", f"fused up convolutions in an impossible choice of layers: {fused}")


def modern(specs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """The same tensors, with the names and axes of genforce/genforce.

    Raises:
        CheckpointError: `unexpected_keys` if the file has a tensor under both of its names.
    """
    older = is_older(specs)
    ours: dict[str, TensorSpec] = {}
    for name, spec in specs.items():
        new = modern_name(name)
        if new in ours:
            raise CheckpointError("unexpected_keys", f"two tensors of the file are {new[:100]}")
        ours[new] = _out_in_first(spec) if older and _FUSED.fullmatch(name) else spec
    return ours


def _out_in_first(spec: TensorSpec) -> TensorSpec:
    """(k, k, I, O) -> (O, I, k, k), a view; other shapes stay, and will be found wrong."""
    if len(spec.size) != 4:
        return spec
    axes = (3, 2, 0, 1)
    size, stride = (tuple(row[a] for a in axes) for row in (spec.size, spec.stride))
    return replace(spec, size=size, stride=stride)
