"""What must be true of the BigGAN networks, whatever their weights: slow twins, invariances, refusals."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from generative.generator import sample_z
from generative.networks import biggan, biggan_deep, biggan_deep_hf
from generative.networks.biggan import BigGANConfig
from generative.networks.biggan_deep import BigGANDeepConfig
from generative.networks.biggan_deep_hf import BigGANDeepHFConfig, choose_rows, decimals
from generative.networks.biggan_layers import Bottleneck, ConditionalNorm, OutputNorm, Rows, SelfAttention

DTYPE = torch.float64
SMALL = {
    "hierarchical": BigGANConfig(12, 5, (16, 8, 8), shared_dim=6, attention=(0,)),
    "unshared": BigGANConfig(7, 5, (16, 8, 8), shared_dim=0, hierarchical=False),
    "deep": BigGANDeepConfig(7, 5, (16, 16, 8, 8, 4), shared_dim=6, attention=(1,)),
    "hf": BigGANDeepHFConfig(7, 5, (16, 16, 8, 8), (False, True, False), 2, embed_dim=6, n_stats=11),
}
#: values 0, 1, 59 and 119 that scipy 1.17 draws with `truncnorm.rvs(-2, 2, size=(1, 120), random_state=...)`
SCIPY = {
    0: [0.11705679514761695, 0.5399904576877466, -0.655557948040702, 0.47827105346811855],
    1: [-0.1998536374961413, 0.5542603839997081, 0.49774839050663156, -1.0741990798614396],
    2024: [0.21216241222556154, 0.49598994407904085, 1.9954473660364827, -0.8825945009343558],
}
MODULES = {BigGANConfig: biggan, BigGANDeepConfig: biggan_deep, BigGANDeepHFConfig: biggan_deep_hf}


def shaken(module, seed=0):
    """In float64, with no parameter left at a value that would hide it."""
    rng = torch.Generator().manual_seed(seed)
    module = module.to(DTYPE).eval().requires_grad_(False)
    for name, value in module.state_dict().items():
        drawn = torch.rand(value.shape, generator=rng, dtype=DTYPE)
        spread = 2 / math.sqrt(max(value[0].numel(), 1)) if name.endswith("weight") else 0.5
        value.copy_(0.5 + drawn if name.endswith("var") else spread * (drawn - 0.45))
    return module


def build(config, seed=0):
    return shaken(MODULES[type(config)].Generator(config), seed)


@pytest.fixture(params=SMALL, scope="module")
def generator(request):
    return build(SMALL[request.param])


@pytest.fixture
def inputs(generator):
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(3, generator.z_dim, generator=rng, dtype=DTYPE)
    return z, torch.softmax(torch.randn(3, generator.c_dim, generator=rng, dtype=DTYPE), dim=1)


def noise(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def plain_norm(layer, x, y):
    """As the paper writes it: standardise, then a gain and a bias for each picture."""
    standard = F.batch_norm(x, layer.mean, layer.var, eps=layer.eps)
    gains, biases = y @ layer.gain.weight.T, y @ layer.bias.weight.T
    return torch.stack(
        [(1 + gains[n])[:, None, None] * standard[n] + biases[n][:, None, None] for n in range(len(x))]
    )


def twice(x):
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_a_conditional_norm_is_batch_norm_and_then_gain_and_bias():
    layer = shaken(ConditionalNorm(4, 3, eps=1e-3))
    x, y = noise(2, 4, 5, 5), noise(2, 3)
    torch.testing.assert_close(layer(x, y), plain_norm(layer, x, y))


def test_the_output_norm_is_batch_norm():
    layer = shaken(OutputNorm(4, eps=1e-3))
    x = noise(2, 4, 5, 5)
    expected = F.batch_norm(x, layer.mean, layer.var, layer.gain, layer.bias, eps=1e-3)
    torch.testing.assert_close(layer(x), expected)


def test_attention_is_a_mean_of_what_the_pooled_pixels_hold():
    layer = shaken(SelfAttention(16))
    x = noise(2, 16, 4, 4)
    expected = x.clone()
    for n in range(2):
        query, key, value = (
            torch.einsum("oi,ihw->ohw", conv.weight[:, :, 0, 0], x[n])
            for conv in (layer.theta, layer.phi, layer.g)
        )
        pools = [(slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)) for i in range(2) for j in range(2)]
        for h in range(4):
            for w in range(4):
                scores = [float(query[:, h, w] @ key[:, i, j].amax(dim=(1, 2))) for i, j in pools]
                weights = [math.exp(s) / sum(map(math.exp, scores)) for s in scores]
                values = (value[:, i, j].amax(dim=(1, 2)) for i, j in pools)
                mean = sum(a * v for a, v in zip(weights, values, strict=True))
                expected[n, :, h, w] += layer.gamma * (layer.o.weight[:, :, 0, 0] @ mean)
    torch.testing.assert_close(layer(x), expected)


def test_a_block_convolves_its_shortcut_as_if_after_upsampling():
    layer = shaken(biggan.Block(6, 4, 3, eps=1e-3))
    x, y = noise(2, 6, 4, 4), noise(2, 3)
    h = layer.conv1(twice(plain_norm(layer.bn1, x, y).relu()))
    h = layer.conv2(plain_norm(layer.bn2, h, y).relu())
    torch.testing.assert_close(layer(x, y), h + layer.conv_sc(twice(x)))


@pytest.mark.parametrize("up", [False, True])
def test_a_bottleneck_drops_the_channels_that_are_too_many(up):
    layer = shaken(Bottleneck(8, 4, 3, up, eps=1e-3))
    x, y = noise(2, 8, 4, 4), noise(2, 3)
    resize = twice if up else lambda value: value
    h = layer.conv1(plain_norm(layer.bn1, x, y).relu())
    h = layer.conv2(resize(plain_norm(layer.bn2, h, y).relu()))
    h = layer.conv3(plain_norm(layer.bn3, h, y).relu())
    h = layer.conv4(plain_norm(layer.bn4, h, y).relu())
    torch.testing.assert_close(layer(x, y), h + resize(x[:, :4]))


def test_pictures_have_the_promised_shape_and_range(generator, inputs):
    images = generator(*inputs)
    side = generator.img_resolution
    assert images.shape == (3, generator.img_channels, side, side)
    assert images.abs().max() < 1
    assert images.std(dim=0).mean() > 1e-3


def test_a_picture_does_not_depend_on_its_company(generator, inputs):
    z, c = inputs
    psi = torch.tensor([0.3, 1.0, 0.62], dtype=DTYPE)
    together = generator(z, c, psi)
    for n in range(3):
        alone = generator(z[n : n + 1], c[n : n + 1], float(psi[n]))
        torch.testing.assert_close(alone[0], together[n])


def test_z_and_the_class_both_show(generator, inputs):
    z, c = inputs
    images = generator(z, c)
    assert (generator(z.flip(0), c) - images).abs().max() > 1e-3
    assert (generator(z, c.flip(0)) - images).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["hierarchical", "unshared", "deep"])
def test_psi_is_the_deviation_of_z(name):
    g = build(SMALL[name])
    z, c = noise(2, g.z_dim), torch.eye(g.c_dim, dtype=DTYPE)[:2]
    torch.testing.assert_close(g(z, c, 0.4), g(0.4 * z, c))


def test_every_part_of_a_hierarchical_z_goes_to_its_block():
    g = build(SMALL["hierarchical"])
    z, c = noise(1, 12), torch.eye(5, dtype=DTYPE)[:1]
    names = ["linear", "blocks.0", "attention.0", "blocks.1"]
    before = g.features(z, names, c)
    for part, first_changed in enumerate(["linear", "blocks.0", "blocks.1"]):
        moved = z.clone()
        moved[:, 4 * part : 4 * part + 4] += 1
        after = g.features(moved, names, c)
        unchanged = names[: names.index(first_changed)]
        assert all(torch.equal(before[name], after[name]) for name in unchanged)
        assert not torch.allclose(before[first_changed], after[first_changed])


def test_without_a_shared_embedding_a_class_picks_its_column_of_every_norm():
    g = build(SMALL["unshared"])
    norm = g.blocks[0].bn1
    x, label = noise(1, 16, 4, 4), 3
    standard = F.batch_norm(x, norm.mean, norm.var, eps=norm.eps)
    gain, bias = norm.gain.weight[:, label], norm.bias.weight[:, label]
    expected = standard * (1 + gain)[:, None, None] + bias[:, None, None]
    torch.testing.assert_close(norm(x, torch.eye(5, dtype=DTYPE)[label][None]), expected)


def test_a_hook_sees_every_layer_and_changes_what_follows(generator, inputs):
    names = []

    def silence(name, value):
        names.append(name)
        return torch.zeros_like(value) if name == "blocks.1" else value

    images = generator(*inputs, hook=silence)
    assert names[0] == "linear" and names[-1] == "rgb" and len(names) == len(set(names))
    assert names.count("blocks.1") == 1
    assert (images != generator(*inputs)).any()
    features = generator.features(inputs[0], names, inputs[1])
    assert all(value.ndim == 4 for value in features.values())
    with pytest.raises(ValueError, match="no such layers: nonsense"):
        generator.features(inputs[0], ["nonsense"], inputs[1])


def test_the_state_is_floating_point_and_rebuilds_the_generator(generator, inputs):
    state = generator.state_dict()
    assert all(value.is_floating_point() for value in state.values())
    twin = type(generator)(generator.config).to(DTYPE)
    twin.load_state_dict(state)
    assert torch.equal(twin(*inputs), generator(*inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, c: {"z": z[:, 1:], "c": c}, "z must be"),
        (lambda z, c: {"z": z[0], "c": c}, "z must be"),
        (lambda z, c: {"z": z}, "c must be"),
        (lambda z, c: {"z": z, "c": c[:, 1:]}, "c must be"),
        (lambda z, c: {"z": z, "c": c[:1]}, "c must be"),
        (lambda z, c: {"z": z, "c": c, "psi": torch.ones(2)}, "psi must be"),
        (lambda z, c: {"z": z, "c": c, "lod": 1.0}, "levels of detail"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(generator, inputs, change, message):
    with pytest.raises(ValueError, match=message):
        generator(**change(*inputs))


# Hugging Face's network


@pytest.fixture(scope="module")
def published():
    return build(SMALL["hf"])


def official_row(psi, n_stats):
    """The official rule for one number, on a table whose rows are 0, 1, 2, ..."""
    coefficient, start = math.modf(psi / (1.0 / (n_stats - 1)))
    return start if coefficient == 0.0 else start * coefficient + (start + 1) * (1 - coefficient)


def rows_of(psi, n_stats=51):
    table = torch.arange(n_stats, dtype=DTYPE)[:, None]
    return choose_rows(psi, n_stats, torch.device("cpu")).of(table)[:, 0].tolist()


def test_truncations_choose_the_rows_that_the_official_code_chooses():
    psi = [float(p) for p in np.random.RandomState(0).uniform(size=50)] + [i / 50 for i in range(51)]
    assert rows_of(psi) == pytest.approx([official_row(p, 51) for p in psi], abs=1e-12)
    assert rows_of([0.3, 0.33], n_stats=11) == pytest.approx([official_row(p, 11) for p in (0.3, 0.33)])


def test_on_the_grid_all_truncations_but_five_choose_their_own_row():
    grid = [round(0.02 * i, 2) for i in range(51)]
    chosen = [round(row) for row in rows_of(grid)]
    wrong = {psi: row - i for i, (psi, row) in enumerate(zip(grid, chosen, strict=True)) if row != i}
    assert wrong == {0.14: 1, 0.28: 1, 0.56: 1, 0.58: -1, 0.94: -1}


def test_between_two_rows_the_nearer_one_counts_less():
    [row] = rows_of([0.43])  # between the rows of 0.42 and 0.44: in the middle nothing shows
    assert row == pytest.approx(21.5)
    [row] = rows_of([0.425])
    assert row == pytest.approx(21.75)


def test_a_narrow_tensor_means_the_numbers_that_were_written():
    written = [0.4, 0.14, 1.0, 0.333333]
    assert decimals(torch.tensor(written, dtype=torch.float32)) == written
    assert decimals(torch.tensor(written, dtype=torch.float64)) == written
    assert decimals(0.1 + 0.2) == [0.1 + 0.2]


def test_the_norm_takes_the_statistics_of_its_row():
    layer = shaken(OutputNorm(4, 1e-3, n_stats=3))
    x = noise(2, 4, 5, 5)
    rows = Rows(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([1.0, 0.25], dtype=DTYPE))
    mean = [layer.mean[0], layer.mean[1] * 0.25 + layer.mean[2] * 0.75]
    var = [layer.var[0], layer.var[1] * 0.25 + layer.var[2] * 0.75]
    expected = [F.batch_norm(x[n : n + 1], mean[n], var[n], layer.gain, layer.bias, eps=1e-3) for n in (0, 1)]
    torch.testing.assert_close(layer(x, rows), torch.cat(expected))


def test_psi_scales_z_and_chooses_the_statistics(published):
    z, c = noise(2, 7), torch.eye(5, dtype=DTYPE)[:2]
    half = published(z, c, 0.5)
    torch.testing.assert_close(half, published(z, c, torch.tensor([0.5, 0.5])))
    assert (half - published(0.5 * z, c, 1.0)).abs().max() > 1e-3  # the same z, other statistics


def test_the_first_map_is_stored_with_channels_last(published):
    z, c = noise(1, 7), torch.eye(5, dtype=DTYPE)[:1]
    y = torch.cat([z, published.embeddings(c)], dim=1)
    numbers = published.linear(y)[0]
    first = published.features(z, ["linear"], c)["linear"][0]
    assert first[3, 1, 2] == pytest.approx(float(numbers[(1 * 4 + 2) * 16 + 3]))


@pytest.mark.parametrize("psi", [-0.1, 1.01, math.nan, torch.tensor([0.5, 2.0])])
def test_truncations_without_statistics_are_refused(published, psi):
    with pytest.raises(ValueError, match="from 0 to 1"):
        published(noise(2, 7), torch.eye(5, dtype=DTYPE)[:2], psi)


@pytest.mark.parametrize("seed", SCIPY)
def test_seeds_draw_what_scipy_draws(seed):
    g = biggan_deep_hf.Generator(BigGANDeepHFConfig(120, 2, (4, 4), (True,), embed_dim=2))
    assert g.draw_z(seed)[[0, 1, 59, 119]] == pytest.approx(SCIPY[seed], abs=1e-12)


def test_seeds_draw_normal_noise_without_its_tails():
    g = biggan_deep_hf.Generator(BigGANDeepHFConfig(10_000, 2, (4, 4), (True,), embed_dim=2))
    z = g.draw_z(5)
    assert np.abs(z).max() <= 2
    assert z.mean() == pytest.approx(0, abs=0.03)
    assert z.std() == pytest.approx(0.8796, abs=0.02)  # of a normal distribution cut at 2
    assert sample_z([5, 6], g).shape == (2, 10_000)


# Configurations come out of files


@pytest.mark.parametrize(
    "fields",
    [
        {"z_dim": 0},
        {"z_dim": 10**9},
        {"z_dim": 13},  # not a multiple of three slots
        {"c_dim": 0},
        {"channels": ()},
        {"channels": (16,)},
        {"channels": (16, 0)},
        {"channels": (10**6, 8)},
        {"channels": (8,) * 80},
        {"channels": (8,) * 15},  # 65536 pixels
        {"shared_dim": 0},  # but hierarchical
        {"shared_dim": -1},
        {"attention": (2,)},
        {"attention": (-1,)},
        {"attention": (1, 0)},
        {"attention": (0, 0)},
        {"channels": (8, 4, 4), "attention": (0,)},
        {"channels": (8,) * 8, "z_dim": 16, "attention": (6,)},  # at 512 pixels
        {"bottom_width": 0},
        {"bottom_width": 3},
        {"bn_eps": 0.0},
        {"bn_eps": math.nan},
    ],
)
def test_an_impossible_biggan_is_refused(fields):
    known = {"z_dim": 12, "c_dim": 5, "channels": (16, 8, 8), "shared_dim": 6}
    with pytest.raises(ValueError):
        BigGANConfig(**(known | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": (16, 16, 8)},  # with a depth of 4
        {"channels": (8, 8, 16, 8, 8)},
        {"channels": (8, 8, 2, 2, 2)},
        {"depth": 0},
        {"depth": 3},
        {"shared_dim": 0},
        {"attention": (4,)},
        {"channels": (16, 16, 16, 4, 4), "attention": (3,)},
    ],
)
def test_an_impossible_biggan_deep_is_refused(fields):
    known = {"z_dim": 7, "c_dim": 5, "channels": (16, 16, 8, 8, 4), "shared_dim": 6, "depth": 4}
    with pytest.raises(ValueError):
        BigGANDeepConfig(**(known | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"upsampling": (False,)},
        {"upsampling": (True,) * 12, "channels": (16,) * 13},
        {"attention_before": 3},
        {"attention_before": -1},
        {"channels": (4, 4, 4, 4), "attention_before": 2},
        {"n_stats": 1},
        {"n_stats": 10**6},
        {"embed_dim": 0},
        {"eps": 2.0},
    ],
)
def test_an_impossible_published_biggan_deep_is_refused(fields):
    known = {"z_dim": 7, "c_dim": 5, "channels": (16, 16, 8, 8), "upsampling": (False, True, False)}
    with pytest.raises(ValueError):
        BigGANDeepHFConfig(**(known | fields))


def test_a_depth_says_where_the_size_doubles():
    maps = build(SMALL["deep"]).features(
        noise(1, 7),
        ["blocks.0", "blocks.1", "attention.1", "blocks.2", "blocks.3"],
        torch.eye(5, dtype=DTYPE)[:1],
    )
    assert [value.shape[2] for value in maps.values()] == [4, 8, 8, 8, 16]


@pytest.mark.parametrize(
    ("widths", "millions"),
    [
        ((16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1), 50.4),
        ((16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1), 55.9),
        ((16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1), 56.2),
    ],
)
def test_the_published_models_have_the_published_number_of_parameters(widths, millions):
    upsampling = tuple(i % 2 == 1 for i in range(len(widths) - 1))
    config = BigGANDeepHFConfig(128, 1000, tuple(128 * width for width in widths), upsampling, 8)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in biggan_deep_hf.Generator(config).parameters())
    unused = 125 * (9 * 128 + 1)  # further outputs of the official last layer
    assert (parameters + unused) / 1e6 == pytest.approx(millions, abs=0.05)
