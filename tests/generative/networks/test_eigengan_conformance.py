"""EigenGAN against numbers of bryandlee's port, read as its checkpoints are, and of the paper's formula."""

import argparse

import numpy as np
import pytest
import torch

from generative.checkpoints.eigengan import FORMAT
from generative.networks.eigengan import Subspace

from .small_gans import BUDGET, SHARED, Case, assert_close, built, saved


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
def test_outputs_of_the_port_agree(old):
    case = Case("eigengan_port/r64")
    state = case.part("")
    args = argparse.Namespace(path="faces", lr=1e-4, **case.config["init_kwargs"])
    root = saved({"step": 3, "args": args, "g": state, "g_ema": state}, old)
    generator = built(FORMAT.read(root, BUDGET))
    z = flat(case.inputs["eps"], case.inputs["zs"])
    stored = {name.replace("phi.", "layer.") for name in case.outputs if name.startswith("layer.")}
    levels = [name.removeprefix("layer.") for name in stored]
    features = generator.features(z, {*levels, *(f"{name}.projection" for name in levels)})

    ours = {
        "img": generator(z),
        "img_edit": generator(flat(case.inputs["eps"], case.inputs["zs_edit_block1_dim2_plus3"])),
        "img_trunc0.5": generator(z, psi=0.5),
    }
    ours |= {f"layer.{name}": features[name][:1] for name in levels}
    ours |= {f"phi.{name}": features[f"{name}.projection"][:1].flatten(1) for name in levels}
    case.assert_outputs(ours)


def flat(eps, zs):
    """Noise (N, noise_dim) and zs (N, levels, Q) -> z (N, z_dim)."""
    return torch.cat([eps, zs.flatten(1)], dim=1)


def test_an_edit_is_one_number_of_z():
    case = Case("eigengan_port/r64")
    generator = built(FORMAT.read(saved({"g_ema": case.part("")}), BUDGET))
    z = flat(case.inputs["eps"], case.inputs["zs"])
    z[:, generator.z_slices["level2"]][:, 2] += 3
    assert_close(generator(z), case.outputs["img_edit"])


def test_the_subspace_agrees_with_the_formula_of_the_paper():
    path = SHARED / "methods" / "eigengan" / "subspace.npz"
    if not path.exists():
        pytest.skip("the vectors are not beside this repository")
    stored = {name: torch.from_numpy(value) for name, value in np.load(path).items() if value.ndim}
    subspace = Subspace(*stored["U"].shape).requires_grad_(False)
    subspace.load_state_dict({name: stored[name] for name in ("U", "L", "mu")})
    steps = torch.linspace(-4.5, 4.5, 5)
    traversal = stored["z"][:1].repeat(30, 1)
    for i in range(6):
        traversal[5 * i : 5 * i + 5, i] = steps

    assert_close(subspace(stored["z"]), stored["out"].numpy())
    assert_close(subspace(traversal), stored["traversal"].numpy())
