"""StyleGAN against numbers of genforce/genforce, on small random models: every stored output is compared."""

import pytest

from generative.checkpoints.genforce import STYLEGAN
from generative.networks.progressive import pixel_norm
from generative.spaces import broadcast, mix_styles, truncate
from tests.generative.networks.genforce_vectors import BUDGET, CONTAINERS, Case, built, saved

TOLERANCE = 3e-5  # of the largest value of the reference


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["r32", "r128_auto_fused"])
def test_latents_styles_features_and_pictures_agree(name, container):
    case = Case(f"stylegan1_genforce/{name}")
    root = saved({"generator_smooth": case.part("")}, container)
    assert STYLEGAN.recognises(root)
    g = built(STYLEGAN.read(root, BUDGET).generator)
    z, wplus = case.inputs["z"], case.inputs["wplus"]
    ws, other = (broadcast(g.map(case.inputs[name]), g.num_ws) for name in ("z", "z2"))
    mixed = mix_styles(ws, other, range(4, g.num_ws)).diagonal().permute(2, 0, 1)

    ours = {
        "z_normalized": pixel_norm(z),
        "w": ws[:, 0],
        "wp_psi0.7_layers8": truncate(ws, g.w_avg, 0.7, 8),
        "wp_psi0.5_layers4": truncate(ws, g.w_avg, 0.5, 4),
        "img_wplus": g.synthesize(wplus),
        "img_psi0.7_layers8": g(z, psi=0.7, cutoff=8),
        "img_lod1": g(z, lod=1),
        "img_lod0.3": g(z, lod=0.3),
        "img_mix_cross4": g.synthesize(mixed),
    }
    ours |= {f"style{i:02}": style for i, style in enumerate(g.styles(wplus).values())}
    features = g.features_of_ws(wplus, [f"layer{i}" for i in range(6)])
    ours |= {f"layer.{name}": value for name, value in features.items()}

    case.check(ours, TOLERANCE)
