"""Models as folders.

    card.json                     what it is (`generative.cards`)
    weights.safetensors           the generator's state_dict; its metadata holds the architecture, so that the
                                  file alone can be imported again
    encoder.safetensors           the same of the encoder, for families that come with one
    statistics.safetensors        mean, std, components, variances of W (`generative.statistics`), where
                                  there is a W
    directions/<set>.safetensors  one vector for each name, and beside it <set>.json
    (`generative.editing.files`)

More files may lie beside these (sample pictures, a feature network); they belong to who wrote them.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from generative.cards import About, Card, Feature, Layer, read_card, write_card
from generative.checkpoints.configs import understand
from generative.checkpoints.errors import CheckpointError
from generative.discovery.sefa import sefa_set
from generative.editing.files import save_directions
from generative.families import build, describe, network_name
from generative.generator import Generator, StyleGenerator, feature_shapes
from generative.statistics import SAMPLES, SEED, WStatistics, sample_w, w_statistics

WEIGHTS, ENCODER, STATISTICS = "weights.safetensors", "encoder.safetensors", "statistics.safetensors"
HALF_MAX = 65504.0


def save_model(
    folder: Path, generator: Generator, about: About, *, half: bool = False, encoder: nn.Module | None = None
) -> Card:
    """Write a complete model folder: weights; for a W its statistics and SeFa directions; last the card.

    Args:
        folder: made if it is not there; a model that was in it is replaced, other files stay.
        half: store the weights as float16, which does not show in pictures and halves the file.
        encoder: from `generative.families.ENCODERS`.

    Raises:
        ValueError: if a weight is beyond float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_weights(folder / WEIGHTS, generator, half)
    (folder / ENCODER).unlink(missing_ok=True)
    if encoder is not None:
        _save_weights(folder / ENCODER, encoder, half)
    spread = _save_statistics(folder, generator) if isinstance(generator, StyleGenerator) else {}
    card = _card(folder, generator, about, spread, half, encoder)
    write_card(folder, card)
    return card


def load_model(folder: Path) -> tuple[Generator, Card]:
    """The generator of a folder, in evaluation mode, float32, on the CPU, and its card.

    Raises:
        CheckpointError: `bad_container` if the weights are not those of the card, `missing_keys`, ...
        FileNotFoundError, ValueError: without a card, or with a broken one.
    """
    card = read_card(folder)
    if _sha256(folder / WEIGHTS) != card.sha256:
        raise CheckpointError("bad_container", f"{WEIGHTS} of {card.name} is not what its card describes")
    generator = _load(folder / WEIGHTS, {"network": card.network, **card.architecture}, card.name)
    assert isinstance(generator, Generator)
    return generator, card


def load_encoder(folder: Path) -> nn.Module:
    """The encoder of a folder whose card says that there is one.

    Raises:
        CheckpointError: `missing_keys`, `bad_config`.
    """
    card = read_card(folder)
    return _load(folder / ENCODER, card.encoder, card.name)


def save_encoder(folder: Path, encoder: nn.Module, *, half: bool = False) -> Card:
    """Write an encoder into a model folder that is complete, and name it in the card."""
    _save_weights(folder / ENCODER, encoder, half)
    described = _plain(describe(network_name(encoder), encoder.config))
    card = read_card(folder).model_copy(update={"encoder": described})
    write_card(folder, card)
    return card


def load_statistics(folder: Path) -> WStatistics | None:
    """What `save_model` wrote; None for a family without W."""
    path = folder / STATISTICS
    return WStatistics(**load_file(path)) if path.is_file() else None


def _load(path: Path, described: dict[str, Any], model: str) -> nn.Module:
    module = build(*understand(described))
    state = {name: value.float() for name, value in load_file(path).items()}
    if set(state) != set(module.state_dict()):
        raise CheckpointError("missing_keys", f"{path.name} of {model} does not fit its architecture")
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def _save_weights(path: Path, module: nn.Module, half: bool) -> None:
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        if half and value.numel() and value.abs().max() > HALF_MAX:
            raise ValueError(f"{name} is beyond float16: store this model in full precision")
        dtype = torch.float16 if half else torch.float32
        state[name] = value.detach().cpu().to(dtype).contiguous()
    config = json.dumps(describe(network_name(module), module.config))
    save_file(state, path, metadata={"config": config})  # one entry: several come in random order
    path.chmod(0o644)  # safetensors makes it private to its writer


def _save_statistics(folder: Path, generator: StyleGenerator) -> dict[str, Any]:
    """And the directions that follow from the weights -> what the card says of it."""
    statistics = w_statistics(sample_w(generator))
    moments = {f.name: getattr(statistics, f.name).contiguous() for f in dataclasses.fields(statistics)}
    (folder / STATISTICS).write_bytes(save(moments))
    save_directions(folder, "sefa", "sefa", sefa_set(generator, statistics))
    return {"samples": SAMPLES, "seed": SEED, "total_std": statistics.total_std}


def _card(
    folder: Path,
    generator: Generator,
    about: About,
    spread: dict[str, Any],
    half: bool,
    encoder: nn.Module | None,
) -> Card:
    architecture = _plain(describe(network_name(generator), generator.config))
    facts: dict[str, Any] = {
        "family": generator.family,
        "network": architecture.pop("network"),
        "architecture": architecture,
        "resolution": generator.img_resolution,
        "channels": generator.img_channels,
        "z_dim": generator.z_dim,
        "classes": generator.c_dim,
        "truncation": generator.psi_acts_on,
        "max_lod": generator.max_lod,
        "spaces": tuple(space.value for space in generator.spaces),
        "features": features_of(generator),
        "sha256": _sha256(folder / WEIGHTS),
        "size_bytes": (folder / WEIGHTS).stat().st_size,
        "precision": "float16" if half else "float32",
        "statistics": spread,
    }
    if isinstance(generator, StyleGenerator):
        widths, index = generator.style_widths(), generator.ws_index
        facts |= {
            "w_dim": generator.w_dim,
            "num_ws": generator.num_ws,
            "style_size": sum(widths.values()),
            "layers": tuple(Layer(name=n, channels=c, ws=index[n]) for n, c in widths.items()),
        }
    if encoder is not None:
        facts["encoder"] = _plain(describe(network_name(encoder), encoder.config))
    return Card(**about.model_dump(), **facts)


def features_of(generator: Generator) -> tuple[Feature, ...]:
    """For the card."""
    shapes = feature_shapes(generator)
    return tuple(Feature(name=n, channels=c, height=h, width=w) for n, (c, h, w) in shapes.items())


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    """As it will be read from JSON: lists for tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
