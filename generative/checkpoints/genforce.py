"""Checkpoints of genforce: PGGAN, StyleGAN and StyleGAN2.

A file of the model zoo holds `generator_smooth`, `generator` and perhaps `discriminator`; a training run has
them in `models`, beside its optimisers and statistics; genforce/sefa and genforce/interfacegan know bare
state dicts as well. Where there is `generator_smooth`, the running mean of the weights, that is what is
served. None of the files holds the configuration: it is read from names and shapes.
"""

from typing import Any, Literal

from torch import Tensor

from generative.checkpoints.contents import Contents, Folder, Format, Network, shapes_of, tensor_specs
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.genforce_configs import (
    length,
    pggan_config,
    stylegan2_config,
    stylegan_config,
)
from generative.checkpoints.genforce_names import fused_scale, modern, modern_name
from generative.checkpoints.genforce_stylegan2 import from_genforce_stylegan2
from generative.checkpoints.tensors import TensorSpec, make_tensors
from generative.networks.stylegan import StyleGANConfig

Family = Literal["pggan", "stylegan", "stylegan2", "idinvert"]
PSI = "truncation.truncation"  # (1, L, 1), by which older files truncate every layer


def family_of(root: object) -> Family | None:
    """Which generator of genforce the object, which may be anything, seems to hold."""
    _, group = _served(root)
    if "synthesis.early_layer.const" in group:
        return "stylegan2"
    if "synthesis.layer0.apply_noise.weight" in group:
        return "stylegan"
    if "synthesis.layer0.epilogue.apply_noise.weight" in group:
        return "idinvert" if _has_w_per_layer(group) else "stylegan"
    return "pggan" if "lod" in group and {"output0.weight", "output0.conv.weight"} & set(group) else None


def read_stylegan(name: str, config_type: type[StyleGANConfig], root: object, budget: int) -> Contents:
    """A StyleGAN, or a network that is derived from it.

    Raises:
        CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`, and those of the tensors.
    """
    named = _specs(root)
    specs = modern(named)
    shapes = shapes_of(specs)
    fused = fused_scale(named, length(shapes, "synthesis.output{}.weight"))
    config = stylegan_config(config_type, shapes, "auto" if fused is None else fused)
    state = make_tensors(specs, budget)
    check_lod(state.get("synthesis.lod"), len(config.channels))
    notes = [] if fused is not None else ["fused_scale is not in the file; 'auto', the official default"]
    if (psi := state.pop(PSI, None)) is not None:
        notes.append(_psi_note(psi, config.num_ws))
    if "truncation.w_avg" in state:
        state["mapping.w_avg"] = state.pop("truncation.w_avg")
    return Contents(f"genforce-{name}", Network(name, config, state), notes=tuple(notes))


def _read_pggan(root: Any, budget: int) -> Contents:
    specs = modern(_specs(root))
    config = pggan_config(shapes_of(specs))
    state = make_tensors(specs, budget)
    check_lod(state["lod"], len(config.channels))
    note = "labels, if it was trained with them, are the end of z: they cannot be told from it"
    return Contents("genforce-pggan", Network("pggan", config, state), notes=(note,))


def _read_stylegan2(root: Any, budget: int) -> Contents:
    specs = _specs(root)
    config = stylegan2_config(shapes_of(specs))
    state = from_genforce_stylegan2(make_tensors(specs, budget), config)
    return Contents("genforce-stylegan2", Network("stylegan2", config, state))


PGGAN = Format("genforce-pggan", lambda root: family_of(root) == "pggan", _read_pggan)
STYLEGAN = Format(
    "genforce-stylegan",
    lambda root: family_of(root) == "stylegan",
    lambda root, budget: read_stylegan("stylegan", StyleGANConfig, root, budget),
)
STYLEGAN2 = Format("genforce-stylegan2", lambda root: family_of(root) == "stylegan2", _read_stylegan2)


def _served(root: object) -> tuple[str, dict[Any, Any]]:
    """The generator that is served, and what the file calls it; an empty one if there is none."""
    if not isinstance(root, dict) or isinstance(root, Folder):
        return "the file", {}
    for group in (root.get("models"), root):
        for name in ("generator_smooth", "generator"):
            if isinstance(group, dict) and isinstance(group.get(name), dict):
                return name, group[name]
    return "the file", root


def _specs(root: object) -> dict[str, TensorSpec]:
    where, group = _served(root)
    return tensor_specs(group, where)


def _has_w_per_layer(group: dict[Any, Any]) -> bool:
    """Whether the mapping network makes a w for every layer, two for each resolution."""
    tensors = {n: t for n, t in group.items() if isinstance(n, str) and isinstance(t, TensorSpec)}
    shapes = shapes_of({modern_name(name): spec for name, spec in tensors.items()})
    last = shapes.get(f"mapping.dense{length(shapes, 'mapping.dense{}.weight') - 1}.weight", ())
    style = shapes.get("synthesis.layer0.style.weight", ())
    layers = 2 * length(shapes, "synthesis.output{}.weight")
    return len(last) == 2 and len(style) == 2 and last[0] == layers * style[1]


def check_lod(lod: Tensor | None, blocks: int) -> None:
    """A stored level of detail must be one that the network has; a wrong shape will be found later."""
    if lod is not None and lod.ndim == 0 and not 0 <= float(lod) <= blocks - 1:
        raise CheckpointError("bad_config", f"the file has lod {float(lod)}, of a network of {blocks} blocks")


def _psi_note(psi: Tensor, num_ws: int) -> str:
    if psi.shape != (1, num_ws, 1):
        raise CheckpointError("wrong_shapes", f"{PSI} {tuple(psi.shape)}, not {(1, num_ws, 1)}")
    values = ", ".join(f"{value:g}" for value in psi.flatten().tolist())
    return f"the file truncates by psi {values}, layer by layer; here psi and cutoff come with each request"
