"""Models as folders.

    card.json                     what it is (`generative.cards`)
    weights.safetensors           the generator's state_dict; its metadata holds the architecture, so that the
                                  file alone can be imported again
    statistics.safetensors        mean, std, components, variances of W (`generative.statistics`)
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
from safetensors.torch import load_file, save
from torch import Tensor

from generative.cards import About, Card, Layer, read_card, write_card
from generative.checkpoints.configs import read_config
from generative.checkpoints.errors import CheckpointError
from generative.discovery.sefa import sefa_set
from generative.editing.files import save_directions
from generative.networks.stylegan2 import Generator
from generative.spaces import Space
from generative.statistics import SAMPLES, SEED, WStatistics, sample_w, w_statistics

WEIGHTS, STATISTICS = "weights.safetensors", "statistics.safetensors"
HALF_MAX = 65504.0


def save_model(folder: Path, generator: Generator, about: About, *, half: bool = False) -> Card:
    """Write a complete model folder: weights, statistics of W, SeFa directions, and last the card.

    Args:
        folder: made if it is not there; a model that was in it is replaced, other files stay.
        half: store the weights as float16, which does not show in pictures and halves the file.

    Raises:
        ValueError: if a weight is beyond float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    statistics = w_statistics(sample_w(generator))
    _save_weights(folder / WEIGHTS, generator, half)
    moments = {f.name: getattr(statistics, f.name).contiguous() for f in dataclasses.fields(statistics)}
    (folder / STATISTICS).write_bytes(save(moments))
    save_directions(folder, "sefa", "sefa", sefa_set(generator, statistics))
    card = _card(folder, generator, about, statistics, half)
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
    generator = Generator(read_config(card.architecture))
    state = {name: value.float() for name, value in load_file(folder / WEIGHTS).items()}
    if set(state) != set(generator.state_dict()):
        raise CheckpointError("missing_keys", f"{WEIGHTS} of {card.name} does not fit its architecture")
    generator.load_state_dict(state)
    return generator.eval().requires_grad_(False), card


def load_statistics(folder: Path) -> WStatistics:
    """What `save_model` wrote."""
    return WStatistics(**load_file(folder / STATISTICS))


def _save_weights(path: Path, generator: Generator, half: bool) -> None:
    state: dict[str, Tensor] = {}
    for name, value in generator.state_dict().items():
        if half and value.abs().max() > HALF_MAX:
            raise ValueError(f"{name} is beyond float16: store this model in full precision")
        dtype = torch.float16 if half else torch.float32
        state[name] = value.detach().cpu().to(dtype).contiguous()
    config = json.dumps(dataclasses.asdict(generator.config))
    path.write_bytes(save(state, metadata={"config": config}))  # one entry: several come in random order


def _card(folder: Path, generator: Generator, about: About, statistics: WStatistics, half: bool) -> Card:
    config = generator.config
    widths = {n: generator.synthesis.layer(n).affine.bias.shape[0] for n in generator.layers}
    ws_index = generator.synthesis.ws_index
    facts: dict[str, Any] = {
        "family": "stylegan2",
        "architecture": json.loads(json.dumps(dataclasses.asdict(config))),  # as it will be read: lists
        "resolution": config.img_resolution,
        "channels": config.img_channels,
        "z_dim": config.z_dim,
        "w_dim": config.w_dim,
        "num_ws": config.num_ws,
        "classes": config.c_dim,
        "spaces": tuple(space.value for space in Space),
        "style_size": sum(widths.values()),
        "layers": tuple(Layer(name=n, channels=c, ws=ws_index[n]) for n, c in widths.items()),
        "sha256": _sha256(folder / WEIGHTS),
        "size_bytes": (folder / WEIGHTS).stat().st_size,
        "precision": "float16" if half else "float32",
        "statistics": {"samples": SAMPLES, "seed": SEED, "total_std": statistics.total_std},
    }
    return Card(**about.model_dump(), **facts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
