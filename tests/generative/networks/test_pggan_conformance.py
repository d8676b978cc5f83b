"""PGGAN against numbers of genforce/genforce, on a small random model: every stored output is compared."""

import pytest

from generative.checkpoints.genforce import PGGAN
from generative.networks.progressive import pixel_norm
from tests.generative.networks.genforce_vectors import BUDGET, CONTAINERS, Case, built, saved

TOLERANCE = 5e-5  # of the largest value of the reference


@pytest.mark.parametrize("container", CONTAINERS)
def test_latents_features_and_pictures_agree(container):
    case = Case("pggan_genforce/r32")
    names = ("generator_smooth", "discriminator")
    root = saved({name: case.part(f"{name}.") for name in names}, container)
    assert PGGAN.recognises(root)
    generator = built(PGGAN.read(root, BUDGET).generator)
    z = case.inputs["z"]

    ours = {"img": generator(z), "z_normalized": pixel_norm(z)}
    ours |= {f"img_lod{lod}": generator(z, lod=lod) for lod in (0.25, 1)}
    features = generator.features(z, [f"layer{i}" for i in range(4)])
    ours |= {f"layer.{name}": value for name, value in features.items()}

    case.check(ours, TOLERANCE, not_served={"D_score"})  # discriminators are not served
