"""Loss networks whose weights do not come with the service: read once from the operator's folder.

| file in `GANSERVE_LOSS_WEIGHTS` | what it is | for |
|---|---|---|
| `vgg16.pth`, `lpips_vgg.pth` | torchvision's VGG16; `vgg.pth` of the lpips package | `lpips-vgg` |
| `alexnet.pth`, `lpips_alex.pth` | torchvision's AlexNet; `alex.pth` of the lpips package | `lpips-alex` |
| `arcface.pth` | `model_ir_se50.pth` of InsightFace_Pytorch | the weight `identity` |
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from generative.checkpoints import CheckpointError
from generative.checkpoints.state_files import read_state
from generative.inversion.likeness import Perceptual
from generative.networks.arcface import arcface_from
from generative.networks.lpips import lpips_from
from jobs.errors import JobFailed

FILES = {
    "lpips-vgg": ("vgg16.pth", "lpips_vgg.pth"),
    "lpips-alex": ("alexnet.pth", "lpips_alex.pth"),
    "identity": ("arcface.pth",),
}
_MAKERS: Mapping[str, Callable[..., nn.Module]] = {
    "lpips-vgg": lpips_from,
    "lpips-alex": lpips_from,
    "identity": arcface_from,
}


class LossNetworks:
    """Those that jobs have asked for, each loaded once. May be used by several threads."""

    def __init__(self, folder: Path | None, device: torch.device | str) -> None:
        self._folder, self._device = folder, torch.device(device)
        self._loaded: dict[str, Perceptual] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Perceptual:
        """name: a key of `FILES`. Raises JobFailed `missing_weights`, which says which file to give."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: str) -> Perceptual:
        states = [self._read(file, name) for file in FILES[name]]
        try:
            network = _MAKERS[name](*states).to(self._device)
        except (ValueError, RuntimeError) as error:
            files = " and ".join(FILES[name])
            raise JobFailed(f"{files} are not what {name} needs: {error}", code="missing_weights") from error
        assert isinstance(network, Perceptual)
        return network

    def _read(self, file: str, name: str) -> dict[str, Tensor]:
        if self._folder is None or not (self._folder / file).is_file():
            where = self._folder or "that GANSERVE_LOSS_WEIGHTS names"
            raise JobFailed(f"{name} needs the file {file} in the folder {where}", code="missing_weights")
        try:
            return read_state(self._folder / file)
        except CheckpointError as error:
            raise JobFailed(f"{file} cannot be used: {error}", code="missing_weights") from error
