"""StyleGAN2 against numbers of the official codes, on small random models: every stored output is compared.

Two trimmed cases are kept beside the tests; the whole set is used where it lies next to the repository.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.nvlabs import config_from_kwargs
from generative.checkpoints.rosinality import from_rosinality, rosinality_config
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.networks.stylegan2_discriminator import Discriminator, DiscriminatorConfig
from generative.pixels import to_uint8
from generative.spaces import broadcast, mix_styles, truncate

KEPT = Path(__file__).parents[1] / "conformance"
SHARED = Path(__file__).parents[4] / "shared" / "conformance" / "generators"
ADA = sorted((KEPT / "stylegan2_ada").iterdir()) + (
    sorted((SHARED / "stylegan2_ada").iterdir()) if SHARED.exists() else []
)
TOLERANCE, LOGIT_TOLERANCE, HALF_TOLERANCE = 1e-5, 2e-5, 5e-3  # of the largest value of the reference


class Case:
    """One folder of vectors."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.outputs = dict(np.load(folder / "outputs.npz"))
        self.weights = {k: torch.from_numpy(v) for k, v in np.load(folder / "weights.npz").items()}

    def part(self, prefix):
        return {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}


def assert_close(actual, expected, tolerance=TOLERANCE):
    assert tuple(actual.shape) == expected.shape
    error = np.abs(actual.double().numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance


@pytest.fixture(scope="module", params=ADA, ids=lambda p: f"{p.parents[1].name}-{p.name}")
def ada(request):
    return Case(request.param)


@pytest.fixture(scope="module")
def generator(ada):
    g = Generator(config_from_kwargs(ada.config["G_init_kwargs"]))
    g.load_state_dict(ada.part("G_ema."))
    return g.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ada_ws(ada, generator):
    def ws(z="z"):
        return broadcast(generator.map(ada.inputs[z], ada.inputs.get("c")), generator.num_ws)

    return ws


def truncation(name):
    """`img_psi0.5_cutoff4_const` -> (0.5, 4)."""
    cutoff = re.search(r"cutoff(\d+)", name)
    return float(re.search(r"psi([\d.]+)", name)[1]), int(cutoff[1]) if cutoff else None


def mixed(ws):
    return mix_styles(ws("z"), ws("z2"), range(4, ws().shape[1])).diagonal().permute(2, 0, 1)


def test_w_and_truncated_w_agree(ada, generator, ada_ws):
    assert_close(ada_ws()[:, 0], ada.outputs["w"])
    names = [name for name in ada.outputs if name.startswith("ws_psi")]
    assert len(names) == 4
    for name in names:
        assert_close(truncate(ada_ws(), generator.mapping.w_avg, *truncation(name)), ada.outputs[name])
    assert_close(mixed(ada_ws), ada.outputs["ws_mix_cross4"])


def test_styles_and_features_agree(ada, generator):
    wplus = ada.inputs["wplus"]
    styles = generator.styles(wplus)
    named = {f"style.{name}": value for name, value in styles.items()}
    wanted = [name for name in ada.outputs if name.startswith(("layer.", "block."))]
    ours = {n: n.removeprefix("layer.").removeprefix("block.").removesuffix(".x") for n in wanted}
    features = generator.features_of_ws(wplus, set(ours.values()))
    named |= {name: features[ours[name]] for name in wanted}

    stored = {name for name in ada.outputs if name.startswith(("style.", "layer.", "block."))}
    assert set(named) == stored
    for name in stored:
        assert_close(named[name], ada.outputs[name])


def test_images_agree(ada, generator, ada_ws):
    wplus, w_avg = ada.inputs["wplus"], generator.mapping.w_avg
    for name, expected in ada.outputs.items():
        if not name.startswith("img_"):
            continue
        if name == "img_mix_const":
            assert_close(generator.synthesize(mixed(ada_ws)), expected)
        elif name.endswith("fp16cpu"):
            assert_close(generator.synthesize_half(wplus), expected, HALF_TOLERANCE)
        elif name.startswith("img_wplus_const"):
            assert_close(generator.synthesize(wplus), expected)
        else:
            ws = truncate(ada_ws(), w_avg, *truncation(name))
            assert_close(generator.synthesize(ws, noise=name.rsplit("_", 1)[1]), expected)


def test_bytes_differ_by_one_step_at_most(ada, generator):
    images = to_uint8(generator(ada.inputs["z"], ada.inputs.get("c"), psi=0.7))
    difference = np.abs(images.numpy().astype(int) - ada.outputs["uint8_psi0.7_const"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3  # only where the float is on the edge of a step


def test_discriminator_agrees(ada):
    if not ada.part("D."):
        pytest.skip("this trimmed case has no discriminator")
    kwargs = dict(ada.config["D_init_kwargs"])
    kwargs.pop("num_fp16_res", None)  # the vectors are float32
    kwargs |= kwargs.pop("epilogue_kwargs", {})
    discriminator = Discriminator(DiscriminatorConfig(**kwargs))
    discriminator.load_state_dict(ada.part("D."))
    images = torch.from_numpy(ada.outputs["img_wplus_const"])

    with torch.no_grad():
        logits = discriminator(images, ada.inputs.get("c"))

    assert_close(logits, ada.outputs["D_logits_wplus_const"], LOGIT_TOLERANCE)


def test_no_stored_output_of_the_official_code_is_left_out(ada):
    known = ("w", "ws_psi", "ws_mix_cross4", "style.", "layer.", "block.", "img_", "uint8_", "D_logits")
    assert [name for name in ada.outputs if not name.startswith(known)] == []


def test_stylegan2_of_the_stylegan3_repository_agrees():
    folder = SHARED / "stylegan3" / "stylegan2_in_sg3_repo_r32"
    if not folder.exists():
        pytest.skip("the vectors are not beside this repository")
    case = Case(folder)
    g = Generator(config_from_kwargs(case.config["G_init_kwargs"])).requires_grad_(False)
    g.load_state_dict(case.part("G_ema."))
    assert g.config.conv_clamp == 256

    w = g.map(case.inputs["z"])
    ours = {
        "w": w,
        "img_psi0.7": g(case.inputs["z"], psi=0.7),
        "img_wplus": g.synthesize(case.inputs["wplus"]),
    }
    for name in ("ws_psi0.7", "ws_psi0.5_cutoff4"):
        ours[name] = truncate(broadcast(w, g.num_ws), g.mapping.w_avg, *truncation(name))
    ours |= {f"style.{name}": value for name, value in g.styles(case.inputs["wplus"]).items()}
    assert set(ours) == set(case.outputs)
    for name, value in ours.items():
        assert_close(value, case.outputs[name])


@pytest.fixture(scope="module")
def rosinality():
    folder = SHARED / "rosinality_stylegan2" / "size64"
    if not folder.exists():
        pytest.skip("the rosinality vectors are not beside this repository")
    return Case(folder)


@pytest.fixture(scope="module")
def converted(rosinality):
    state = rosinality.part("g_ema.")
    g = Generator(rosinality_config(state))
    g.load_state_dict(from_rosinality(state, rosinality.weights["latent_avg"]))
    return g.eval().requires_grad_(False)


#: rosinality's name of a layer -> ours
def our_layer(name):
    kind, *index = name.removesuffix(".conv").split(".")
    k = int(index[0]) if index else -1
    if kind == "to_rgb1":
        return "b4.torgb"
    if kind == "to_rgbs":
        return f"b{8 << k}.torgb"
    return "b4.conv1" if kind == "conv1" else f"b{8 << (k // 2)}.conv{k % 2}"


def test_rosinality_latents_and_images_agree(rosinality, converted):
    z, z2, expected = rosinality.inputs["z"], rosinality.inputs["z2"], rosinality.outputs
    w = converted.map(z)
    assert_close(w, expected["w"])
    assert_close(converted(z), expected["img_psi1_bufnoise"])
    assert_close(converted(z, psi=0.7), expected["img_psi0.7_bufnoise"])
    truncated = truncate(broadcast(w, 10), converted.mapping.w_avg, 0.7)
    assert_close(truncated, expected["latents_psi0.7"])

    other = truncate(broadcast(converted.map(z2), 10), converted.mapping.w_avg, 0.7)
    ws = mix_styles(truncated, other, range(3, 10)).diagonal().permute(2, 0, 1)
    assert_close(ws, expected["latents_mix_inject3"])
    assert_close(converted.synthesize(ws), expected["img_mix_inject3"])


def test_rosinality_styles_features_and_explicit_noise_agree(rosinality, converted):
    wplus, expected = rosinality.inputs["wplus"], rosinality.outputs
    convs = [name for name in converted.layers if "torgb" not in name]
    noises = {name: rosinality.inputs[f"noise_{i}"] for i, name in enumerate(convs)}
    assert_close(converted.synthesize(wplus, noises=noises), expected["img_wplus_explicitnoise"])

    styles = converted.styles(wplus)
    for name in (n for n in expected if n.startswith("style.")):
        assert_close(styles[our_layer(name.removeprefix("style."))], expected[name])

    seen = {}

    def keep(name, value):
        seen[name.replace("img", "torgb")] = value  # their ToRGB adds the running picture itself
        return value

    converted.synthesize(wplus, noises=noises, hook=keep)
    for name in (n for n in expected if n.startswith("layer.")):
        assert_close(seen[our_layer(name.removeprefix("layer."))], expected[name])


def test_rosinality_and_official_names_are_the_same_model(converted):
    """The published key table, applied backwards, gives back what our importer was given."""
    assert isinstance(converted.config, StyleGAN2Config)
    assert dict(converted.config.channels) == {4: 40, 8: 40, 16: 32, 32: 24, 64: 16}


#: rosinality's name within a block of the discriminator -> ours
BLOCK_NAMES = {
    "conv1.0.weight": "conv0.weight",
    "conv1.1.bias": "conv0.bias",
    "conv2.1.weight": "conv1.weight",
    "conv2.2.bias": "conv1.bias",
    "skip.1.weight": "skip.weight",
}


def our_discriminator_name(name, resolution):
    first, *rest = name.split(".")
    if first != "convs":  # the end, at 4x4
        layer = {"final_conv": ["conv", "conv"], "final_linear": ["fc", "out"]}[first][int(rest[0])]
        return f"b4.{layer}.{rest[-1]}"
    if rest[0] == "0":
        return f"b{resolution}.fromrgb.{rest[-1]}"
    return f"b{resolution >> (int(rest[0]) - 1)}.{BLOCK_NAMES['.'.join(rest[1:])]}"


def test_rosinality_discriminator_agrees(rosinality):
    size = rosinality.config["size"]
    channels = sorted((int(r), c) for r, c in rosinality.config["channels"].items())
    discriminator = Discriminator(DiscriminatorConfig(size, channels=tuple(channels)))
    theirs = {k: v for k, v in rosinality.part("d.").items() if not k.endswith(".kernel")}
    state = {our_discriminator_name(name, size): value for name, value in theirs.items()}
    filters = {k: v for k, v in discriminator.state_dict().items() if k.endswith("resample_filter")}
    discriminator.load_state_dict(state | filters)

    with torch.no_grad():
        logits = discriminator(torch.from_numpy(rosinality.outputs["img_wplus_explicitnoise"]))

    assert_close(logits, rosinality.outputs["D_logits"], LOGIT_TOLERANCE)
