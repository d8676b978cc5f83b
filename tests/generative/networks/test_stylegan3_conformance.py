"""StyleGAN3 against numbers of the official code, on small random models: every stored output is compared.

The weights go through a pickle of the official layout and our reader.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.checkpoints.nvlabs import read_nvlabs, stylegan3_config
from generative.networks.stylegan3 import Generator
from generative.networks.stylegan3_geometry import layers
from generative.spaces import broadcast, truncate
from tests.generative.checkpoints.stylegan3_pickle import stylegan3_pickle

SHARED = Path(__file__).parents[4] / "shared" / "conformance" / "generators" / "stylegan3"
TOLERANCE = 1e-5  # of the largest value of the reference
TOLERANCES = {"t_r64": {"input_scale4": 2e-5}, "r_r64_cond": {}}
MOVE = "transform_inverse_of_translate0.13_-0.21_rot33deg"


class Case:
    """One folder of vectors, and the generator that our reader finds in a file of it."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.config = json.loads((folder / "config.json").read_text())
        self.inputs = {k: torch.from_numpy(v) for k, v in np.load(folder / "inputs.npz").items()}
        self.outputs = dict(np.load(folder / "outputs.npz"))
        self.exact = dict(np.load(folder / "outputs_f64.npz"))
        weights = {k: torch.from_numpy(v) for k, v in np.load(folder / "weights.npz").items()}
        self.state = {k.removeprefix("G_ema."): v for k, v in weights.items() if k.startswith("G_ema.")}

    def read(self) -> Generator:
        kwargs = self.config["G_init_kwargs"]
        written = Generator(stylegan3_config(kwargs))
        written.load_state_dict(self.state)
        content = stylegan3_pickle(written, kwargs)
        network = read_nvlabs(content, 2 * len(content)).generator
        assert network.name == "stylegan3"
        generator = Generator(network.config)
        generator.load_state_dict(network.state)
        return generator.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["t_r64", "r_r64_cond"])
def case(request):
    if not SHARED.exists():
        pytest.skip("the vectors are not beside this repository")
    return Case(SHARED / request.param)


@pytest.fixture(scope="module")
def generator(case):
    return case.read()


def computed(case, g):
    """Every output that is stored, by its name."""
    z, c, wplus = case.inputs["z"], case.inputs.get("c"), case.inputs["wplus"]
    ws = broadcast(g.map(z, c), g.num_ws)
    ws07 = truncate(ws, g.w_avg, 0.7)
    stored = [name.removeprefix("layer.") for name in case.outputs if name.startswith("layer.")]
    features = g.features_of_ws(wplus, stored)
    return {
        "w": ws[:, 0],
        "ws_psi0.7": ws07,
        "ws_psi0.5_cutoff4": truncate(ws, g.w_avg, 0.5, 4),
        "img_wplus": g.synthesize(wplus),
        "img_psi0.7": g(z, c, psi=0.7),
        "img_psi0.7_transform": g.synthesize(ws07, transform=torch.linalg.inv(case.inputs[MOVE].double())),
        "input_scale4": g.synthesis.input(g.styles(wplus)["input"], case.inputs["transform_scale4"]),
        **{f"style.{name}": value for name, value in g.styles(wplus).items()},
        **{f"layer.{name}": features[name][:1] for name in stored},  # of the first sample only
    }


def assert_close(actual, expected, tolerance, name):
    assert tuple(actual.shape) == expected.shape, name
    error = np.abs(actual.double().numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance, (name, error)


def test_every_stored_output_agrees(case, generator):
    ours = computed(case, generator)
    assert set(ours) == set(case.outputs)
    for name, value in ours.items():
        tolerance = TOLERANCES[case.name].get(name, TOLERANCE)
        assert_close(value, case.outputs[name], tolerance, name)
        assert_close(value, case.exact.get(name, case.outputs[name]), tolerance, name)


def test_a_transform_that_the_file_stores_is_the_official_one(case):
    g = case.read()
    g.synthesis.input.transform.copy_(case.inputs[MOVE])
    moved = g(case.inputs["z"], case.inputs.get("c"), psi=0.7)
    assert_close(moved, case.outputs["img_psi0.7_transform"], TOLERANCE, "stored transform")


def test_the_tensors_of_the_file_come_in_bit_for_bit(case, generator):
    state = generator.state_dict()
    assert set(state) == set(case.state)
    assert all(torch.equal(state[name], value) for name, value in case.state.items())


def test_layers_are_those_of_the_official_code(case, generator):
    assert generator.layers == ("input", *case.config["layer_names"])
    for ours, theirs in zip(layers(generator.config), case.config["layers"], strict=True):
        assert ours.name == theirs["name"]
        assert list(ours.padding) == theirs["padding"]
        for side, band in (("in", ours.before), ("out", ours.after)):
            assert [band.size] * 2 == theirs[f"{side}_size"]
            assert band.rate == theirs[f"{side}_sampling_rate"]
            assert band.cutoff == pytest.approx(theirs[f"{side}_cutoff"], rel=1e-12)
            assert band.half_width == pytest.approx(theirs[f"{side}_half_width"], rel=1e-12)
        for name in ("up", "down", "up_taps", "down_taps"):
            assert getattr(ours, name) == theirs[name]


def test_filters_designed_from_nothing_are_the_stored_ones_to_rounding(case, generator):
    ours = Generator(generator.config).state_dict()
    filters = [name for name in case.state if name.endswith("_filter")]
    assert len(filters) == 28
    for name in filters:
        assert_close(ours[name], case.state[name].numpy(), 1e-6, name)


def test_style_normalisation_over_the_batch_is_not_needed_for_the_official_numbers(case, generator):
    """The official code's mean is over the batch; a row of ours is the same alone."""
    wplus = case.inputs["wplus"]
    alone = torch.cat([generator.synthesize(ws[None]) for ws in wplus])
    assert_close(alone, case.exact["img_wplus"], TOLERANCE, "one by one")
