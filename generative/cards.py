"""A model's card: what it is, what it can do, where it comes from. `card.json` in the model's folder.

Keys of the JSON, all of them plain, so that it can be read where there is no torch:

| key | meaning |
|---|---|
| `name` | what requests call it |
| `family` | as the literature calls it: `stylegan2`, `biggan`, ... |
| `network` | one of `generative.families.GENERATORS`: a family may have several, whose numbers differ |
| `architecture` | the fields of the network's configuration |
| `resolution`, `channels` | of its pictures, pixels and 1 or 3 |
| `z_dim`, `w_dim`, `num_ws` | sizes of its latents; 0 for those that the family lacks |
| `classes` | how many it is conditioned on; 0 for none |
| `class_names` | what they are called, in order; empty if that is not known |
| `truncation` | what `psi` acts on: `w`, `z`, or `none` |
| `max_lod` | the largest level of detail that a progressively grown network can leave out; else 0 |
| `spaces` | of `z`, `w`, `w+`, `s` |
| `style_size` | length of S: the channels of all `layers`; 0 without S |
| `layers` | `[{"name": "b4.conv1", "channels": 160, "ws": 0}, ...]`, coarse to fine, the order of S |
| `features` | `[{"name": "b4", "channels": 160, "height": 4, "width": 4}, ...]`: what edits can reach |
| `sha256`, `size_bytes` | of `weights.safetensors` |
| `precision` | `float16` or `float32`, of the stored weights; computing is float32 |
| `licence`, `source`, `description` | text for people; an unknown licence says `unknown` |
| `images_seen` | how many pictures its training showed it, null if unknown |
| `training` | free notes on the training |
| `metrics` | name -> number, such as a Fréchet distance |
| `statistics` | how `statistics.safetensors` was made: `samples`, `seed`, `total_std`; empty without W |
| `encoder` | network and configuration of `encoder.safetensors`; empty without one |
| `provenance` | of an imported file: `format`, `sha256`, `size_bytes`, `notes` |
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Truncation = Literal["w", "z", "none"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
CARD = "card.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class About(_Record):
    """What a person or a trainer knows of a model; the rest of the card follows from the weights."""

    name: Name
    licence: str = "unknown"
    source: str = ""
    description: str = ""
    images_seen: int | None = None
    training: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    class_names: tuple[str, ...] = ()
    provenance: dict[str, Any] = {}


class Layer(_Record):
    """One layer of the synthesis network: how many channels its style scales, and which w it takes."""

    name: str
    channels: int
    ws: int


class Feature(_Record):
    """The output of a layer: so many units, of so many places."""

    name: str
    channels: int
    height: int
    width: int


class Card(About):
    """Everything in `card.json`; see the module's table."""

    family: str
    network: str = "stylegan2"
    architecture: dict[str, Any]
    resolution: int
    channels: int
    z_dim: int
    w_dim: int = 0
    num_ws: int = 0
    classes: int
    truncation: Truncation = "w"
    max_lod: float = 0
    spaces: tuple[str, ...]
    style_size: int = 0
    layers: tuple[Layer, ...] = ()
    features: tuple[Feature, ...] = ()
    sha256: str
    size_bytes: int
    precision: Literal["float16", "float32"]
    statistics: dict[str, Any] = {}
    encoder: dict[str, Any] = {}


def read_card(folder: Path) -> Card:
    """The card in a model folder.

    Raises:
        ValueError: if it is not right (pydantic's, which names the fields).
        FileNotFoundError: if it is not there.
    """
    return Card.model_validate_json((folder / CARD).read_text())


def write_card(folder: Path, card: Card) -> None:
    """Write `card.json` in one step: a folder with a card is a complete model."""
    part = folder / f"{CARD}.part"
    part.write_text(card.model_dump_json(indent=1) + "\n")
    part.replace(folder / CARD)
