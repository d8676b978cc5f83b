"""What pictures are compared in: a network that turns each into a vector.

Numbers of one extractor say nothing beside numbers of another. The shipped network needs no download, but
knows nothing beyond portraits. Inception is what published Fréchet distances use, CLIP's image encoder what
"CMMD" and "FD-CLIP" do; their weights are not ours to ship, so they are read from a local file.

| name | file | features |
|---|---|---|
| `shipped` | `features.safetensors` of the model folder | every map averaged over the picture |
| `inception` | `pt_inception-2015-12-05-….pth`, or the same as safetensors | 2048, as FID |
| `clip` | ViT-B/32 or B/16 in OpenAI's layout, .safetensors or plain .pt | 512 |
"""

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.state_files import read_state
from generative.networks.clip_image import clip_image_encoder_from
from generative.networks.feature_network import FeatureNetwork
from generative.networks.inception import inception_from


class FeatureExtractor(Protocol):
    """Pictures to features. Row i of the result follows from picture i alone."""

    @property
    def name(self) -> str:
        """Which one it is, for reports."""

    def embed(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1], any size, on the extractor's device -> (N, D) float32."""


class ShippedFeatures:
    """The feature network of the portraits world; it also reads the world's factors."""

    def __init__(self, network: FeatureNetwork) -> None:
        self.network = network

    @property
    def name(self) -> str:
        return "shipped"

    def embed(self, images: Tensor) -> Tensor:
        return self.network.embed(self._fit(images))

    def embed_and_read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, D) features, and (N, K) read-outs for `FeatureNetwork.decode`, in one pass."""
        maps = self.network(self._fit(images))
        pooled = self.network.pool(maps)
        return pooled, self.network.read(maps[-1]).float()

    def _fit(self, images: Tensor) -> Tensor:
        return resized(images, self.network.record.resolution)


class NetworkFeatures:
    """A network whose output is the features: Inception or CLIP."""

    def __init__(self, name: str, network: nn.Module) -> None:
        self._name, self.network = name, network

    @property
    def name(self) -> str:
        return self._name

    def embed(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images)
        return features.float()


def resized(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) -> (N, C, side, side), smoothed where it shrinks."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def open_extractor(text: str, model_folder: Path, device: torch.device | str = "cpu") -> FeatureExtractor:
    """`"shipped"`, `"inception=FILE"` or `"clip=FILE"`, on the device.

    Raises:
        ValueError: for another text, or weights that do not fit (`CheckpointError`, which has a code).
        OSError: if the file cannot be read.
    """
    name, _, file = text.partition("=")
    if name == "shipped" and not file:
        return ShippedFeatures(FeatureNetwork.load(model_folder).to(device))
    readers = {"inception": inception_from, "clip": clip_image_encoder_from}
    if name not in readers or not file:
        raise ValueError(f'extractors are "shipped", "inception=FILE" and "clip=FILE", not {text[:60]!r}')
    try:
        return NetworkFeatures(name, readers[name](read_state(Path(file))).to(device))
    except RuntimeError as error:  # torch's, of load_state_dict
        raise CheckpointError("wrong_shapes", f"{file} is not for {name}: {str(error)[:500]}") from None
