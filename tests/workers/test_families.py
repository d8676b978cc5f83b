"""Jobs on a model of every family: what they make, that company does not matter, and what is refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load

from generative.cards import About
from generative.families import GENERATORS
from generative.generator import StyleGenerator, sample_z
from generative.networks import feature_network
from generative.pixels import to_uint8
from generative.store import save_model
from jobs.catalog import Catalog
from jobs.errors import GanserveError
from jobs.schemas import Status, request_adapter
from jobs.settings import DEFAULT_TENANT
from tests.families import tiny
from workers.models import LENDER
from workers.runner import run_job
from workers.work.evaluate import evaluate_model
from workers.work.generate import generate
from workers.work.invert import invert

Run = Callable[..., Any]
SHIPPED = Path(__file__).parents[2] / "model_repo"


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("families")
    for name in GENERATORS:
        network = tiny(name)
        names = ("ant", "bee", "cow") if network.c_dim else ()
        model = name.replace("_", "-")
        save_model(repo / model, network, About(name=model, class_names=names))
    (repo / LENDER).mkdir()
    for file in (feature_network.RECORD, feature_network.WEIGHTS):
        (repo / LENDER / file).symlink_to(SHIPPED / LENDER / file)
    return repo


@pytest.fixture(params=sorted(GENERATORS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def run(context, submit, finished, model_repo) -> Run:
    """Check a request as the gateway does, run it, and return the row."""
    catalog = Catalog(model_repo, context.store)

    def run(name: str, kind: str = "generate", **given: Any) -> Any:
        model = name.replace("_", "-")
        if tiny(name).c_dim and "class" not in given.get("input", {}):
            given = {**given, "input": {"class": 1, **given.get("input", {})}}
        request = request_adapter.validate_json(json.dumps({"kind": kind, "model": model, **given}))
        catalog.check(request, catalog.get(DEFAULT_TENANT, model))
        row = submit(kind, model=model, **given)
        run_job(row.id, generate if kind == "generate" else evaluate_model, context)
        row = finished(row)
        assert row.status is Status.SUCCEEDED, row.error
        return row

    return run


def pictures(row: Any, read: Callable[..., bytes]) -> np.ndarray:
    names = [output.name for output in row.outputs if output.role == "image"]
    found = np.stack([np.asarray(Image.open(io.BytesIO(read(row, name)))) for name in names])
    return found if found.ndim == 4 else found[..., None]


def test_seeds_are_the_pictures_of_the_network_at_the_default_truncation(name, run, read):
    network = tiny(name)
    row = run(name, input={"source": {"seeds": [3, 4]}}, output={"grid": True})
    c = torch.eye(network.c_dim)[[1, 1]] if network.c_dim else None
    psi = 1.0 if network.psi_acts_on == "none" else 0.7
    expected = to_uint8(network(sample_z([3, 4], network), c, psi), network.pixel_gain, network.pixel_offset)
    difference = np.abs(pictures(row, read).astype(int) - expected.numpy())
    assert difference.max() <= 1  # blocks of another shape round otherwise
    assert (difference > 0).mean() < 0.01
    assert {"grid.png"} < {output.name for output in row.outputs}


def test_company_and_place_do_not_change_a_byte(name, run, read):
    alone = pictures(run(name, input={"source": {"seeds": [7]}}), read)
    together = pictures(run(name, input={"source": {"seeds": "0-7"}}), read)
    np.testing.assert_array_equal(alone[0], together[7])


def test_latents_go_out_and_come_in_again(name, run, read):
    row = run(name, input={"source": {"seeds": [1, 2]}}, output={"latents": "z"})
    z = load(read(row, "latents.safetensors"))["z"]
    assert torch.equal(z, sample_z([1, 2], tiny(name)))
    source = {"latents": {"space": "z", "values": z.tolist()}}
    np.testing.assert_array_equal(pictures(run(name, input={"source": source}), read), pictures(row, read))


@pytest.mark.parametrize("mode", ["linear", "slerp"])
def test_a_film_goes_from_one_seed_to_the_next(name, mode, run):
    row = run(name, input={"source": {"seeds": [1, 2]}, "interpolate": {"frames": 5, "mode": mode}})
    assert [output.name for output in row.outputs] == ["interpolation.mp4"]
    assert row.result == {"frames": 5}


def test_mixing_needs_layers(name, run):
    mixing = {"mixing": {"rows": [1], "columns": [2, 3], "layers": "0-1"}}
    if isinstance(tiny(name), StyleGenerator):
        assert run(name, input=mixing).result == {"count": 2}
    else:
        with pytest.raises(GanserveError, match="no space 'w\\+'"):
            run(name, input=mixing)


CLASSES = [name for name in GENERATORS if tiny(name).c_dim]
GROWN = [name for name in GENERATORS if tiny(name).max_lod]
NOISY = [n for n in GENERATORS if isinstance(g := tiny(n), StyleGenerator) and g.noise_sizes]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_an_index_and_a_name(name, run, read):
    by_index = pictures(run(name, input={"class": 2}), read)
    np.testing.assert_array_equal(pictures(run(name, input={"class": "cow"}), read), by_index)
    assert (pictures(run(name, input={"class": "ant"}), read) != by_index).any()


@pytest.mark.parametrize("name", GROWN)
def test_levels_of_detail_can_be_left_out(name, run, read):
    fine = pictures(run(name), read)
    coarse = pictures(run(name, input={"lod": 1.0}), read)
    np.testing.assert_array_equal(coarse[:, ::2, ::2], coarse[:, 1::2, 1::2])
    assert (fine != coarse).any()
    with pytest.raises(GanserveError, match="levels 0 to"):
        run(name, input={"lod": 9.0})


@pytest.mark.parametrize("name", NOISY)
def test_random_noise_follows_from_its_seed(name, run, read):
    def noisy(seed: int) -> np.ndarray:
        return pictures(run(name, input={"noise": "random", "noise_seed": seed}), read)

    np.testing.assert_array_equal(noisy(1), noisy(1))
    assert (noisy(1) != noisy(2)).any()


@pytest.mark.parametrize("name", ["dcgan", "biggan_deep_hf", "idinvert", "alae"])
def test_families_with_and_without_w_can_be_evaluated_against_pictures(name, run):
    reference = run(name, input={"source": {"seeds": "100-131"}}).id
    given = {"metrics": ["fid", "pr"], "count": 32, "seed": 100, "reference": {"job": reference}}
    if tiny(name).psi_acts_on != "none":
        given["psi"] = 0.7
    [samples] = run(name, "evaluate", input=given).result["sets"]
    assert samples["fid"] < 1e-3  # they are the same pictures
    assert samples["precision"] == 1


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("method", ["projector", "multi_code"])
def test_a_picture_of_a_class_is_found_in_its_z(name, method, context, submit, finished, upload, read):
    network = tiny(name)
    z, c = sample_z([3], network), torch.eye(3)[[2]]
    with torch.no_grad():
        own = upload(to_uint8(network(z, c), network.pixel_gain, network.pixel_offset)[0].numpy())
    how = {"method": method, "space": "z", "losses": {"pixel": 1.0, "perceptual": 0.0}, "preview_every": 0}

    def ended(kind: str, work: Any, **given: Any) -> Any:
        row = submit(kind, model=name.replace("_", "-"), input=given)
        run_job(row.id, work, context)
        row = finished(row)
        assert row.status is Status.SUCCEEDED, row.error
        return row

    def picture(row: Any, file: str) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(read(row, file)))).astype(int)

    def found(label: int | str, steps: int) -> Any:
        return ended("invert", invert, images=[own], steps=steps, **{"class": label}, **how)

    job = found("cow", 10)
    assert job.result["images"][0]["psnr_db"] > found(2, 1).result["images"][0]["psnr_db"]
    if method == "projector":
        source = {"artifact": {"job": job.id, "name": "latents.safetensors"}}
        cow, ant = (
            ended("generate", generate, source=source, psi=1.0, **{"class": label}) for label in ("cow", 0)
        )
        painted = picture(job, "reconstruction_0000.png")
        assert np.abs(picture(cow, "image_0000.png") - painted).max() <= 1
        assert np.abs(picture(ant, "image_0000.png") - painted).max() > 1
