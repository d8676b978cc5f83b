"""generate: checked against the network called by itself, without engine, blocks or encoders."""

import base64
import io
import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_tensors

from generative.generator import sample_z
from generative.pixels import to_uint8
from generative.spaces import Space, broadcast, lerp, slerp
from jobs.schemas import Status
from tests.workers.given import TENANT, pixels_of
from workers.encode import GRID_GAP
from workers.runner import run_job
from workers.work.generate import along, generate

GREY_LEVELS = 1  # a picture may differ by one level: the twin sums in another order


@pytest.fixture
def run(context, submit, finished):
    """Submit and run; the row as it ended."""

    def ended(input=None, **given):
        row = submit("generate", input=input or {}, **given)
        run_job(row.id, generate, context)
        return finished(row)

    return ended


@pytest.fixture
def network(context):
    return context.models.get(TENANT, "tiny").generator


def by_hand(network, seeds, psi=0.7, cutoff=None, noise="const") -> np.ndarray:
    """(N, H, W, 3)."""
    with torch.no_grad():
        images = network(sample_z(seeds, network), psi=psi, cutoff=cutoff, noise=noise)
    return to_uint8(images).numpy()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a.astype(int) - b.astype(int)).max() <= GREY_LEVELS)


def pictures(job, read) -> np.ndarray:
    return np.stack([pixels_of(read(job, o.name)) for o in job.outputs if o.role == "image"])


@pytest.mark.parametrize(
    "how", [{}, {"psi": 0.3}, {"psi": 0.3, "cutoff": 2}, {"psi": -1.0}, {"psi": 1.0}, {"noise": "none"}]
)
def test_seeds_give_the_pictures_of_the_network(run, read, network, how):
    job = run({"source": {"seeds": [3, 4]}, **how})
    assert job.status is Status.SUCCEEDED and job.result == {"count": 2}
    assert [o.name for o in job.outputs] == ["image_0000.png", "image_0001.png"]
    assert same(pictures(job, read), by_hand(network, [3, 4], **how))


def test_every_picture_says_how_to_make_it_again(run, read, context):
    job = run({"source": {"seeds": "5,6"}, "psi": 0.5})
    with Image.open(io.BytesIO(read(job, "image_0001.png"))) as image:
        image.load()
        about = json.loads(image.text["ganserve"])
    model = context.models.get(TENANT, "tiny")
    assert (about["model"], about["model_sha256"], about["kind"]) == ("tiny", model.sha256, "generate")
    assert about["seed"] == 6 and about["input"]["psi"] == 0.5
    assert job.outputs[1].about == {"seed": 6}


@pytest.mark.parametrize("noise", ["const", "random"])
def test_a_picture_has_the_same_bytes_wherever_it_stands_in_a_job(run, noise):
    how = {"noise": noise, "noise_seed": 9}
    alone = run({"source": {"seeds": [42]}, **how}).outputs[0].sha256
    among = run({"source": {"seeds": "30-79"}, **how}).outputs[12].sha256
    again = run({"source": {"seeds": [42]}, **how}).outputs[0].sha256
    assert alone == among == again


def test_random_noise_differs_by_its_seed_and_between_pictures_of_one_seed(run):
    job = run({"source": {"seeds": [1, 1]}, "noise": "random"})
    other = run({"source": {"seeds": [1]}, "noise": "random", "noise_seed": 1})
    assert len({o.sha256 for o in (*job.outputs, *other.outputs)}) == 3


def test_more_pictures_than_one_chunk_come_in_order_with_progress(run, read, network, context):
    job = run({"source": {"seeds": "0-69"}})
    assert [o.index for o in job.outputs] == list(range(70))
    assert same(pictures(job, read), by_hand(network, range(70)))
    steps = [e["progress"]["step"] for e in context.live.events if e["type"] == "progress"]
    assert steps[-1] == 70


def test_a_job_that_is_done_at_once_tells_no_progress_beside_its_end(run, context):
    before = len(context.live.events)
    run({"source": {"seeds": [1]}})
    assert [event["type"] for event in context.live.events[before:]] == ["state"]


def test_a_picture_has_the_same_bytes_whether_its_latents_are_asked_for_or_not(run):
    alone, beside = (run({"source": {"seeds": "1-20"}}, output={"latents": l}) for l in ("none", "w+"))
    bytes_of = [[o.sha256 for o in job.outputs if o.role == "image"] for job in (alone, beside)]
    assert len(set(bytes_of[0])) == 20 and bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize("space", ["z", "w", "w+", "s"])
def test_latents_that_come_out_paint_the_same_pictures_when_they_go_in(run, read, space):
    first = run({"source": {"seeds": [7, 8]}, "psi": 0.6}, output={"latents": space})
    source = {"artifact": {"job": first.id, "name": "latents.safetensors"}}
    again = run({"source": source, "psi": 0.6})
    assert same(pictures(again, read), pictures(first, read))


def test_one_row_of_an_artifact_can_be_taken(run, read):
    first = run({"source": {"seeds": [7, 8]}}, output={"latents": "w"})
    source = {"artifact": {"job": first.id, "name": "latents.safetensors", "index": 1}}
    assert same(pictures(run({"source": source}), read), pictures(first, read)[1:])


@pytest.mark.parametrize("packed", [False, True])
def test_explicit_latents_are_painted_without_truncation(run, read, network, packed):
    with torch.no_grad():
        ws = broadcast(network.map(sample_z([1, 2], network)), network.num_ws)
    if packed:
        body = base64.b64encode(ws.contiguous().numpy().astype("<f4").tobytes()).decode()
        latents = {"space": "w+", "base64": body, "shape": list(ws.shape)}
    else:
        latents = {"space": "w+", "values": ws.tolist()}
    job = run({"source": {"latents": latents}, "psi": 0.1})
    assert same(pictures(job, read), by_hand(network, [1, 2], psi=1.0))
    assert set(job.outputs[0].about) == {"space", "latent_sha256"}


def test_the_latents_file_says_what_it_holds(run, read, network):
    job = run({"source": {"seeds": [7, 8, 9]}}, output={"latents": "w+"})
    [output] = [o for o in job.outputs if o.role == "latents"]
    shape = [3, network.num_ws, network.w_dim]
    assert output.about == {"space": "w+", "count": 3, "shape": shape}
    assert list(load_tensors(read(job, output.name))["w+"].shape) == shape


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({"latents": {"space": "w", "values": [[0.0] * 15]}}, "latent_shape"),
        ({"latents": {"space": "w", "values": [[0.0], [0.0, 1.0]]}}, "invalid_request"),
        ({"latents": {"space": "w", "values": [["x"] * 16]}}, "invalid_request"),
        ({"latents": {"space": "w", "base64": "AAAA", "shape": [1, 16]}}, "invalid_request"),
        ({"artifact": {"job": "job_01AN4Z07BY79KA1307SR9X4MV3", "name": "x"}}, "unknown_artifact"),
    ],
)
def test_latents_that_do_not_fit_fail_with_a_reason(run, source, code):
    job = run({"source": source})
    assert (job.status, job.error.code) == (Status.FAILED, code)


def test_an_artifact_that_is_no_latents_or_has_no_such_row_is_unknown(run):
    first = run(output={"latents": "w"})
    for artifact in (
        {"name": "image_0000.png"},
        {"name": "latents.safetensors", "index": 1},
        {"name": "no.png"},
    ):
        job = run({"source": {"artifact": {"job": first.id, **artifact}}})
        assert job.error.code == "unknown_artifact"


@pytest.mark.parametrize(
    ("input", "latents"),
    [
        ({"source": {"seeds": [1]}, "cutoff": 2}, "w"),
        ({"mixing": {"rows": [1], "columns": [2], "layers": "0"}}, "z"),
    ],
)
def test_a_space_that_cannot_express_the_pictures_is_refused(run, input, latents):
    assert run(input, output={"latents": latents}).error.code == "unsupported_by_model"


def test_mixing_takes_the_layers_of_the_columns_and_the_rest_of_the_rows(run, read, network):
    job = run({"mixing": {"rows": [1, 2], "columns": [3, 4, 5], "layers": "0-1,3"}, "psi": 0.8})
    with torch.no_grad():
        ws = broadcast(network.map(sample_z([1, 2, 3, 4, 5], network)), network.num_ws)
        ws = network.mapping.w_avg.lerp(ws, 0.8)
        mixed = [
            row.clone().index_copy(0, torch.tensor([0, 1, 3]), column[[0, 1, 3]])
            for row in ws[:2]
            for column in ws[2:]
        ]
        expected = to_uint8(network.synthesize(torch.stack(mixed))).numpy()
    assert same(pictures(job, read), expected)
    assert job.outputs[4].about == {"mixing": {"row": 2, "column": 4, "layers": "0-1,3"}}

    grid, step = pixels_of(read(job, "grid.png")), 16 + GRID_GAP
    assert grid.shape == (3 * step - GRID_GAP, 4 * step - GRID_GAP, 3)
    assert same(grid[2 * step :, 2 * step : 2 * step + 16], expected[4])
    sources = by_hand(network, [1, 2, 3, 4, 5], psi=0.8)
    assert same(grid[step : step + 16, :16], sources[0]) and same(grid[:16, 3 * step :], sources[4])


def test_a_grid_holds_all_pictures(run, read, network):
    job = run({"source": {"seeds": "0-4"}}, output={"grid": True})
    grid, step = pixels_of(read(job, "grid.png")), 16 + GRID_GAP
    assert same(grid[step : step + 16, step : step + 16], by_hand(network, [4])[0])


@pytest.mark.parametrize(("film", "loop"), [("mp4", False), ("webp", True)])
def test_an_interpolation_is_a_film_of_so_many_frames(run, read, film, loop):
    wanted = {"source": {"seeds": [1, 2, 3]}, "interpolate": {"frames": 40, "mode": "slerp", "loop": loop}}
    job = run(wanted, output={"film": film})
    assert [o.name for o in job.outputs] == [f"interpolation.{film}"] and job.result == {"frames": 40}
    body = io.BytesIO(read(job, job.outputs[0].name))
    if film == "mp4":
        with av.open(body) as container:
            assert sum(1 for _ in container.decode(video=0)) == 40
    else:
        with Image.open(body) as image:
            assert image.n_frames == 40


def test_an_interpolation_needs_two_latents_and_slerp_needs_z(run):
    assert run({"source": {"seeds": [1, 1]}, "interpolate": {"frames": 4}}).status is Status.SUCCEEDED
    assert (
        run({"source": {"latents": {"space": "w", "values": [[0.0] * 16]}}, "interpolate": {}}).error.code
        == "invalid_request"
    )
    two = {"space": "w", "values": [[0.0] * 16, [1.0] * 16]}
    job = run({"source": {"latents": two}, "interpolate": {"mode": "slerp"}})
    assert job.error.code == "unsupported_by_model"


def test_a_path_goes_through_its_keys_at_constant_pace():
    keys = torch.tensor([[0.0], [1.0], [3.0]])
    assert along(keys, 5, False, lerp).flatten().tolist() == [0, 0.5, 1, 2, 3]
    assert along(keys, 6, True, lerp).flatten().tolist() == [0, 0.5, 1, 2, 3, 1.5]
    assert along(keys, 2, False, lerp).flatten().tolist() == [0, 3]


def test_slerp_keeps_to_the_sphere():
    keys = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    keys /= keys.norm(dim=1, keepdim=True)
    assert torch.allclose(along(keys, 9, True, slerp).norm(dim=1), torch.ones(9))


@pytest.mark.parametrize(("format", "suffix"), [("jpeg", "jpg"), ("webp", "webp")])
def test_other_formats_and_sizes(run, read, format, suffix):
    job = run(output={"format": format, "size": 48, "quality": 95})
    assert job.outputs[0].name == f"image_0000.{suffix}"
    assert job.outputs[0].media_type == f"image/{format}"
    assert pixels_of(read(job, job.outputs[0].name)).shape == (48, 48, 3)


def test_npz_is_one_array_of_all_pictures(run, read, network):
    job = run({"source": {"seeds": "0-39"}}, output={"format": "npz"})
    assert [(o.name, o.role) for o in job.outputs] == [("images.npz", "array")]
    with np.load(io.BytesIO(read(job, "images.npz"))) as arrays:
        assert same(arrays["images"], by_hand(network, range(40)))
        assert json.loads(str(arrays["provenance"][39]))["seed"] == 39


def test_a_class_for_a_model_without_classes_is_refused(run):
    assert run({"class": 1}).error.code == "unsupported_by_model"


def test_an_unknown_model_is_refused(context, submit, finished):
    row = submit("generate", model="nobody")
    run_job(row.id, generate, context)
    assert finished(row).error.code == "unknown_model"


def test_s_latents_interpolate_in_s(run, read):
    first = run({"source": {"seeds": [7, 8]}}, output={"latents": "s"})
    source = {"artifact": {"job": first.id, "name": "latents.safetensors"}}
    job = run({"source": source, "interpolate": {"frames": 3}}, output={"latents": "s"})
    assert load_tensors(read(job, "latents.safetensors"))[Space.S.value].shape[0] == 3
