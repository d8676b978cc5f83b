"""The small models of other families that ship beside `portraits`: their networks, and how each is trained.

What is not named here keeps the default of its configuration.
"""

import json
from pathlib import Path
from typing import Any, Literal

from generative.training import alae, families
from generative.training.dataset import Portraits
from generative.training.running import CONFIG, Trainable

Name = Literal["dcgan", "eigengan", "alae"]
Config = families.FamilyConfig | alae.ALAEConfig

RECIPES: dict[Name, dict[str, Any]] = {
    "dcgan": {
        "network": "dcgan",
        "architecture": {"z_dim": 32, "channels": [320, 192, 128, 64]},
        "warm_images": 14_000,
    },
    "eigengan": {
        "network": "eigengan",
        "architecture": {"noise_dim": 8, "n_basis": [6, 6, 6, 6], "channels": [128, 96, 64, 32, 16]},
        "warm_images": 16_000,
        "orthogonality": 1.0,
        "basis_rate": 0.1,
    },
    "alae": {
        "network": "alae",
        "architecture": {
            "img_resolution": 32,
            "channels": [128, 128, 64, 32],
            "latent_dim": 64,
            "mapping_layers": 4,
        },
        "encoder": {"img_resolution": 32, "channels": [32, 64, 128, 128, 128], "w_dim": 64},
    },
}


def configure(values: dict[str, Any]) -> Config:
    """Raises pydantic's ValidationError for a setting that the training does not have."""
    kind = alae.ALAEConfig if values.get("network") == "alae" else families.FamilyConfig
    return kind.model_validate(values)


def read_config(folder: Path) -> Config:
    """Of a run folder."""
    return configure(json.loads((folder / CONFIG).read_text()))


def trainer(config: Config) -> Trainable:
    portraits = Portraits(config.dataset, config.held_out)
    if isinstance(config, alae.ALAEConfig):
        return alae.Trainer(config, portraits)
    return families.Trainer(config, portraits)
