"""Jobs on a device that is not the CPU: what they make is the same, and painting asks nothing back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from generative.cards import About
from generative.families import GENERATORS
from generative.generator import StyleGenerator, sample_z
from generative.networks.idinvert_encoder import Encoder, IdInvertEncoderConfig
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.store import save_model
from jobs.inversion import METHODS
from jobs.schemas import Status
from tests import elsewhere
from tests.families import tiny
from tests.workers.given import pixels_of, ramp
from tests.workers.test_inversion_methods import FEW, PIXELS
from workers.context import Context
from workers.runner import run_job
from workers.work import painting
from workers.work.edit import edit
from workers.work.generate import generate
from workers.work.invert import invert

SIDE = 16
BINARY = "application/octet-stream"
WORKS: dict[str, Any] = {"generate": generate, "invert": invert, "edit": edit}
SEVEN = {"seeds": [7]}
LEFT = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 1}}
SEFA = {"op": "direction", "name": "sefa_0", "strength": 2.0}
EDITS: dict[str, dict[str, Any]] = {
    "direction": SEFA,
    "vector": {"op": "direction", "vector": {"space": "w", "values": [[0.5] * 16]}},
    "channel": {"op": "direction", "channel": {"layer": "b8.conv0", "index": 4}, "strength": 5.0},
    "features": {"op": "direction", "features": {"layer": "b8.conv1", "values": [0.5] * 16}},
    "mix": {"op": "mix", "with": SEVEN, "layers": "0-1,4"},
    "transfer": {"op": "transfer", "from": SEVEN, "to": {"seeds": [8]}, "strength": 0.5},
    "spherical": {"op": "interpolate", "with": SEVEN, "mode": "spherical"},
    "average": {"op": "average", "with": {"seeds": [5, 6]}},
    "region": {"op": "region", "mask": LEFT, "operations": [SEFA]},
    "units": {"op": "units", "layer": "b8.conv1", "units": [0, 3, 5], "mask": LEFT},
}
SPACES = ("z", "w", "w+", "s", "p", "p+", "features")


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, with an encoder, and one of every family."""
    repo = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=SIDE, z_dim=16, w_dim=16, mapping_layers=2, channel_max=16)
    encoder = Encoder(IdInvertEncoderConfig(img_resolution=SIDE, channels=(8, 16, 16), w_dim=16))
    save_model(repo / "tiny", Generator(config).eval(), About(name="tiny"), encoder=encoder.eval())
    for name in GENERATORS:
        network = tiny(name)
        classes = ("ant", "bee", "cow") if network.c_dim else ()
        save_model(repo / _served(name), network, About(name=_served(name), class_names=classes))
    return repo


@pytest.fixture
def both(context, away, submit, finished) -> Callable[..., list[dict[str, Any]]]:
    """What a job makes on the CPU, and what it makes there: pictures (H, W, 3) and latents by name."""

    def ran(kind: str, where: Context, given: dict[str, Any]) -> dict[str, Any]:
        row = submit(kind, **given)
        run_job(row.id, WORKS[kind], where)
        row = finished(row)
        assert row.status is Status.SUCCEEDED, row.error
        return {o.name: _read(o, where) for o in row.outputs if o.media_type in ("image/png", BINARY)}

    return lambda kind, **given: [ran(kind, where, given) for where in (context, away)]


def _read(output: Any, where: Context) -> Any:
    body = where.blobs.read(output.key)
    return load(body) if output.media_type == BINARY else pixels_of(body).astype(int)


def _served(name: str) -> str:
    return name.replace("_", "-")


def alike(here: dict[str, Any], there: dict[str, Any]) -> bool:
    """To a level: blocks may have other sizes there, and sums another order."""
    pictures = [name for name in here if name.endswith(".png") and not name.startswith("loss")]
    return (
        bool(pictures)
        and here.keys() == there.keys()
        and all(np.abs(here[name] - there[name]).max() <= 1 for name in pictures)
    )


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_every_family_paints_the_same_pictures(both, family):
    classes = {"class": 1} if tiny(family).c_dim else {}
    assert alike(*both("generate", model=_served(family), input={"source": {"seeds": [1, 2, 3]}} | classes))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_inversion_finds_the_same(both, upload, method):
    more: dict[str, Any] = {"steps": FEW.get(method, 20)}
    if method == "diffusion":
        more["degradation"] = {"type": "mask", "image": upload(np.zeros((4, 4, 3), np.uint8))}
    if method == "pti":
        more["tuning"] = {"steps": 5}
    asked = {"images": [upload(ramp())], "method": method, "losses": PIXELS, "preview_every": 0}
    assert alike(*both("invert", input=asked | more))


@pytest.mark.parametrize("space", SPACES)
def test_every_space_is_searched(both, upload, space):
    asked = {"images": [upload(ramp())], "losses": PIXELS, "preview_every": 0}
    assert alike(*both("invert", input=asked | {"method": "projector", "space": space, "steps": 10}))


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_makes_the_same(both, edit):
    assert alike(*both("edit", input={"source": {"seeds": [1, 2]}, "operations": [EDITS[edit]]}))


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_painting_asks_nothing_back(family):
    """So that a GPU's queue never runs empty meanwhile."""
    network = tiny(family).eval().requires_grad_(False).to(elsewhere.NAME)
    inputs = {"z": sample_z([1, 2], network)}
    if network.c_dim:
        inputs["c"] = torch.eye(network.c_dim)[:2]
    if isinstance(network, StyleGenerator):
        inputs["psi"] = torch.full((2, network.num_ws), 0.7)
    there = {name: t.to(elsewhere.NAME) for name, t in inputs.items()}
    with torch.no_grad(), elsewhere.Reads() as reads:
        pictures = painting.Paint()(network, there)
        assert not reads.seen
        pictures.cpu()
        assert reads.seen


def test_the_cpu_is_refused_as_company():
    there = torch.ones(2, 2, device=elsewhere.NAME)
    with pytest.raises(RuntimeError, match="tensors of the CPU"):
        there @ torch.ones(2, 2)
    assert torch.equal((there @ torch.ones(2, 2).to(elsewhere.NAME)).cpu(), torch.full((2, 2), 2.0))
