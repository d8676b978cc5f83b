"""Arrays that the official codes computed; a test that leaves one of them out fails."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

METHODS = Path(__file__).parents[4] / "shared" / "conformance" / "methods"


class Vectors(dict):
    """The tensors of a file, and which of them were read."""

    def __init__(self, method, name):
        path = METHODS / method / f"{name}.npz"
        if not path.exists():
            pytest.skip("the vectors are not beside this repository")
        super().__init__({key: torch.from_numpy(value) for key, value in np.load(path).items()})
        self.meta = json.loads((METHODS / method / "meta.json").read_text())
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)

    def assert_all_read(self):
        assert set(self) == self.read, f"not compared: {sorted(set(self) - self.read)}"


def rel(ours, stored):
    """The largest difference, as a share of the largest stored number."""
    assert ours.shape == stored.shape
    difference = (ours.double() - stored.double()).abs().max()
    return float(difference / stored.double().abs().max())


def cosines(ours, stored):
    """|cosine| of each row (K, ...) with its stored one."""
    a, b = ours.double().flatten(1), stored.double().flatten(1)
    return ((a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))).abs()
