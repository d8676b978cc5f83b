import pytest
import torch

from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.spaces import broadcast

SMALL = StyleGAN2Config(
    img_resolution=16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=128, channel_max=16
)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    g = Generator(SMALL)
    with torch.no_grad():
        for name, value in g.named_parameters():
            if name.endswith("noise_strength"):
                value.fill_(0.5)
    return g.eval().requires_grad_(False)


@pytest.fixture
def ws(generator):
    z = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    return broadcast(generator.map(z), generator.num_ws)


def test_painting_from_styles_is_painting_from_the_ws_that_made_them(generator, ws):
    torch.testing.assert_close(generator.synthesize_styles(generator.styles(ws)), generator.synthesize(ws))


def test_a_picture_does_not_depend_on_its_batch(generator, ws):
    together = generator.synthesize(ws)
    alone = torch.cat([generator.synthesize(w[None]) for w in ws])
    torch.testing.assert_close(together, alone)


def test_fresh_noise_comes_from_the_given_generator(generator, ws):
    def paint(seed):
        return generator.synthesize(ws, noise="random", rng=torch.Generator().manual_seed(seed))

    assert torch.equal(paint(5), paint(5))
    assert not torch.allclose(paint(5), paint(6), atol=1e-3)


def test_given_noise_wins_over_the_noise_mode(generator, ws):
    stored = {
        n: generator.synthesis.layer(n).noise_const[None, None] for n in generator.layers if "conv" in n
    }
    torch.testing.assert_close(
        generator.synthesize(ws, noise="none", noises=stored), generator.synthesize(ws)
    )


def test_each_w_reaches_the_layers_that_the_index_says(generator, ws):
    before = generator.styles(ws)
    for i in range(generator.num_ws):
        changed = ws.clone()
        changed[:, i] += 1
        after = generator.styles(changed)
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name, index in generator.synthesis.ws_index.items() if index == i}


def test_a_hook_changes_what_the_next_layer_sees(generator, ws):
    def silence(name, value):
        return torch.zeros_like(value) if name == "b16" else value

    untouched = generator.features_of_ws(ws, ["b8.img"])["b8.img"]
    assert not torch.allclose(generator.synthesize(ws, hook=silence), generator.synthesize(ws))
    assert torch.equal(generator.features_of_ws(ws, ["b8.img"])["b8.img"], untouched)


def test_unknown_layers_are_named(generator, ws):
    with pytest.raises(ValueError, match=r"b32\.conv0"):
        generator.features_of_ws(ws, ["b16", "b32.conv0"])


def test_wrong_shapes_are_refused(generator):
    with pytest.raises(ValueError, match="ws must be"):
        generator.synthesize(torch.zeros(1, 3, 10))
    with pytest.raises(ValueError, match="z must be"):
        generator.map(torch.zeros(1, 5))


@pytest.mark.parametrize("bad", [{"img_resolution": 48}, {"img_resolution": 8, "channels": ((4, 3),)}])
def test_impossible_configurations_are_refused(bad):
    with pytest.raises(ValueError, match=r"power of two|channels"):
        StyleGAN2Config(**bad)


def test_mixed_precision_training_reaches_every_parameter():
    torch.manual_seed(0)
    g = Generator(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        loss = g(torch.randn(2, 12), noise="random").square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in g.parameters())


def test_mixed_precision_pictures_stay_close_and_are_float32(generator, ws):
    with torch.autocast("cpu", torch.bfloat16):
        rounded = generator.synthesize(ws)
    exact = generator.synthesize(ws)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.03 * exact.abs().max()


def test_the_path_length_gradient_can_be_differentiated_again():
    torch.manual_seed(0)
    g = Generator(SMALL)
    ws = broadcast(g.map(torch.randn(2, 12)), g.num_ws).contiguous()
    images = g.synthesize(ws, noise="random")
    [gradient] = torch.autograd.grad(images.sum(), ws, create_graph=True)
    gradient.square().sum().backward()
    assert g.synthesis.layer("b8.conv0").weight.grad.abs().sum() > 0


def test_the_average_of_w_moves_towards_the_batch():
    g = Generator(SMALL)
    g.mapping.update_average(torch.ones(4, 10))
    torch.testing.assert_close(g.mapping.w_avg, torch.full((10,), 1 - SMALL.w_avg_beta))


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_architecture_paints_and_learns(architecture):
    config = StyleGAN2Config(
        img_resolution=8, z_dim=4, w_dim=4, mapping_layers=1, channel_max=4, architecture=architecture
    )
    g = Generator(config)
    g(torch.randn(2, 4)).mean().backward()
    assert g.synthesis.layer("b4.conv1").weight.grad is not None
    assert ("b4.torgb" in g.layers) == (architecture == "skip")
