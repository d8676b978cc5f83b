"""In-domain inversion against numbers of genforce/idinvert_pytorch: every stored output is compared."""

import numpy as np
import pytest
import torch

from generative.checkpoints.contents import Folder
from generative.checkpoints.idinvert import FORMAT, read_encoder
from generative.spaces import truncate
from tests.generative.networks.genforce_vectors import (
    BUDGET,
    CONTAINERS,
    SHARED,
    Case,
    assert_close,
    built,
    saved,
)

TOLERANCE, ENCODER_TOLERANCE = 5e-5, 1e-5  # of the largest value of the reference


@pytest.mark.parametrize("container", CONTAINERS)
def test_codes_features_and_pictures_agree(container):
    case = Case("idinvert_encoder/r32")
    files = {
        "styleganinv_encoder.pth": saved(case.part("encoder."), container),
        "styleganinv_generator.pth": saved(case.part("generator."), container),
    }
    assert FORMAT.recognises(Folder(files))
    contents = FORMAT.read(Folder(files), BUDGET)
    generator, encoder = built(contents.generator), built(contents.encoder)
    z, seen = case.inputs["z"], {}
    ws = generator.map(z)

    code = encoder(case.inputs["x"], hook=lambda name, x: seen.setdefault(name, x))

    ours = {
        "code": code.flatten(1),
        "recon": generator.synthesize(code),
        "w": ws.flatten(1),
        "wp_truncated": truncate(ws, generator.w_avg, 0.7),
        "img_z": generator(z, psi=0.7),
    }
    ours |= {f"layer.encoder.{name}": value for name, value in seen.items()}
    case.check(ours, TOLERANCE)


def test_an_encoder_of_other_sizes_agrees():
    path = SHARED / "methods" / "idinvert" / "encoder_small_bn.npz"
    if not path.exists():
        pytest.skip("the vectors are not beside this repository")
    vectors = dict(np.load(path))
    state = {k: torch.from_numpy(v) for k, v in vectors.items() if k.startswith("param__")}
    state = {name.removeprefix("param__").replace("__", "."): value for name, value in state.items()}
    encoder = built(read_encoder(saved(state), BUDGET))

    code = encoder(torch.from_numpy(vectors["x"]))

    assert_close(code, vectors["encoded_wp"], ENCODER_TOLERANCE)
    assert_close(code.flatten(1), vectors["encoded"], ENCODER_TOLERANCE)
    compared = {"x", "encoded", "encoded_wp"}
    assert {name for name in vectors if not name.startswith("param__")} == compared
