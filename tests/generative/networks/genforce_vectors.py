"""Vectors of genforce's models, and files of the official layouts: `torch.save`, read by our own readers."""

import io
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.allowed import TENSORS
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks import idinvert, idinvert_encoder, pggan, stylegan, stylegan2

SHARED = Path(__file__).parents[4] / "shared" / "conformance"
BUDGET = 2**24  # bytes
CONTAINERS = ("zip", "stream")
NETWORKS = {
    "pggan": pggan.Generator,
    "stylegan": stylegan.Generator,
    "stylegan2": stylegan2.Generator,
    "idinvert": idinvert.Generator,
    "idinvert_encoder": idinvert_encoder.Encoder,
}


class Case:
    """One folder of vectors."""

    def __init__(self, name):
        folder = SHARED / "generators" / name
        if not folder.exists():
            pytest.skip("the vectors are not beside this repository")
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.outputs = dict(np.load(folder / "outputs.npz"))
        self.exact = dict(np.load(folder / "outputs_f64.npz"))  # the same code in float64
        self.weights = {k: torch.from_numpy(v) for k, v in np.load(folder / "weights.npz").items()}

    def part(self, prefix):
        """The state dict of one network."""
        return OrderedDict(
            (name.removeprefix(prefix), value)
            for name, value in self.weights.items()
            if name.startswith(prefix)
        )

    def check(self, ours, tolerance, not_served=()):
        """Every stored output, and all but those that are not served; float64 is the better reference."""
        assert set(ours) | set(not_served) == set(self.outputs)
        for name, value in ours.items():
            assert_close(value, self.outputs[name], tolerance, name)
            if name in self.exact:
                assert_close(value, self.exact[name], tolerance, name)


def assert_close(actual, expected, tolerance, name=""):
    assert tuple(actual.shape) == expected.shape, name
    error = np.abs(actual.double().numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance, f"{name}: {error:.1e}"


def saved(root, container="zip"):
    """What our reader makes of the file that torch writes for this object."""
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=container == "zip")
    return (read_torch_zip if container == "zip" else read_torch_stream)(file.getvalue(), TENSORS)


def built(network):
    """The module of what a reader returned; every weight must have its place."""
    module = NETWORKS[network.name](network.config)
    module.load_state_dict(network.state)
    return module.eval().requires_grad_(False)


def randomised(module, seed=0):
    """The same, with weights that hide no term: biases, noise and averages are far from 0."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if name.endswith(("bias", "apply_noise.weight", "w_avg", "running_mean")):
                value.copy_(torch.randn(value.shape, generator=rng) / 2)
            elif name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=rng) + 0.5)
            elif not name.endswith(("lod", "kernel")):
                value.copy_(torch.randn(value.shape, generator=rng) * (100 if "dense" in name else 1))
    return module.eval().requires_grad_(False)
