"""StyleGAN2 with genforce's names, in our network, against numbers of genforce/genforce."""

import pytest

from generative.checkpoints.genforce import STYLEGAN2
from generative.spaces import broadcast, truncate
from tests.generative.networks.genforce_vectors import BUDGET, CONTAINERS, Case, built, saved

TOLERANCE = 1e-5  # of the largest value of the reference


@pytest.mark.parametrize("container", CONTAINERS)
def test_latents_styles_and_pictures_agree(container):
    case = Case("stylegan2_genforce/r32")
    root = saved({"generator_smooth": case.part("")}, container)
    assert STYLEGAN2.recognises(root)
    g = built(STYLEGAN2.read(root, BUDGET).generator)
    z, wplus = case.inputs["z"], case.inputs["wplus"]
    w = g.map(z)

    ours = {
        "w": w,
        "wp_psi0.7_layers4": truncate(broadcast(w, g.num_ws), g.w_avg, 0.7, 4),
        "img_wplus": g.synthesize(wplus),
        "img_psi0.7_layers4": g(z, psi=0.7, cutoff=4),
    }
    styles = g.styles(wplus)
    convs = [name for name in styles if "conv" in name]
    ours |= {f"style{i:02}": styles[name] for i, name in enumerate(convs)}
    ours |= {f"output_style{i}": styles[f"b{4 << i}.torgb"] for i in range(4)}

    case.check(ours, TOLERANCE)
