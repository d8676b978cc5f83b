"""The GAN zoo's progressive GAN against numbers of its own code, read as its checkpoints are."""

import pytest

from generative.checkpoints.gan_zoo import PGAN

from .small_gans import BUDGET, Case, built, saved


@pytest.mark.parametrize("old", [False, True], ids=["zip", "stream"])
def test_outputs_agree(old):
    case = Case("gan_zoo/pgan_r32")
    scales = case.config["scales"]
    config = {
        "latentVectorDim": case.config["dimLatent"],
        "depthScale0": scales[0],
        "depthOtherScales": scales[1:],
        "dimOutput": 3,
        "alpha": 0,
        "perChannelNormalization": case.config["normalization"],
        "lossCriterion": "WGANGP",
    }
    G = case.part("avgG.")
    root = saved({"config": config, "netG": G, "netD": case.part("netD."), "avgG": G}, old)
    generator = built(PGAN.read(root, BUDGET))
    z = case.inputs["z"]
    features = generator.features(z, {"groupScale0.0", "scaleLayers.1.0"})

    case.assert_outputs(
        {
            "img": generator(z),
            "layer.groupScale0.0": features["groupScale0.0"],
            "layer.scaleLayers.1.0": features["scaleLayers.1.0"][:1],
        }
    )
