"""Vectors of the small GANs, and files of their official layouts: `torch.save`, read by our own readers."""

import collections
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.allowed import TORCH, inert
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks import dcgan, eigengan, gan, gan_zoo_pgan

SHARED = Path(__file__).parents[4] / "shared" / "conformance"
TOLERANCE = 1e-5  # of the largest value of the reference
BUDGET = 2**26  # bytes
ALLOWED = TORCH | {"models.utils.config.BaseConfig": inert("models.utils.config.BaseConfig")}
MODULES = {module.__name__.rpartition(".")[2]: module for module in (dcgan, eigengan, gan, gan_zoo_pgan)}


class Case:
    """One folder of vectors."""

    def __init__(self, name):
        folder = SHARED / "generators" / name
        if not folder.exists():
            pytest.skip("the vectors are not beside this repository")
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.outputs = dict(np.load(folder / "outputs.npz"))
        self.exact = dict(np.load(folder / "outputs_f64.npz"))  # by the official code in float64
        self.weights = {k: torch.from_numpy(v) for k, v in np.load(folder / "weights.npz").items()}

    def part(self, prefix):
        """A network's state dict, as torch has it."""
        part = {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}
        return collections.OrderedDict(part)

    def assert_outputs(self, ours):
        """All stored outputs and no others, also against float64 where that is stored."""
        assert set(ours) == set(self.outputs)
        for name, value in ours.items():
            for reference in (self.outputs, self.exact):
                if name in reference:
                    assert_close(value, reference[name])


def assert_close(actual, expected):
    assert tuple(actual.shape) == expected.shape
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert np.abs(actual - expected).max() / np.abs(expected).max() < TOLERANCE


def saved(root, old=False):
    """What our readers make of the file that torch writes, in the container of today or of before 1.6."""
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=not old)
    return (read_torch_stream if old else read_torch_zip)(file.getvalue(), ALLOWED)


def built(contents):
    """The network of a checkpoint that was read, every weight used."""
    module = MODULES[contents.generator.name].Generator(contents.generator.config)
    module.load_state_dict(contents.generator.state)
    return module.requires_grad_(False)
