"""Every method of inversion as a job, restoration, and what tuned latents can do afterwards."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from generative.cards import About
from generative.generator import sample_z
from generative.inversion import weight_delta
from generative.inversion.alignment import cut, ffhq_frame, ffhq_frame_of_landmarks
from generative.inversion.feature_space import made
from generative.networks import ghfeat_encoder, lpips, stylegan
from generative.networks.ghfeat_encoder import GHFeatEncoderConfig
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.pixels import to_uint8
from generative.store import save_model
from jobs.errors import JobFailed
from jobs.inversion import METHODS
from jobs.schemas import Status
from tests.families import tiny
from tests.workers.given import TENANT, pixels_of, ramp
from tests.workers.inversions import FEW, PIXELS, SIDE, STEPS, briefly, save_seeing
from tests.workers.yunet import save_detector
from workers.faces import FaceDetector
from workers.images import to_tensor
from workers.losses import LossNetworks
from workers.runner import Outcome, run_job
from workers.work.edit import edit
from workers.work.generate import generate
from workers.work.invert import invert


@pytest.fixture(scope="module")
def model_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, with an encoder; `flat`, a family without W."""
    repo = tmp_path_factory.mktemp("models")
    save_seeing(repo)
    save_model(repo / "flat", tiny("gan"), About(name="flat"))
    wide = StyleGAN2Config(img_resolution=64, z_dim=8, w_dim=8, mapping_layers=1, channel_max=8)
    save_model(repo / "wide", Generator(wide).eval(), About(name="wide"))
    one = stylegan.StyleGANConfig(64, (8, 8, 8, 8, 4), z_dim=8, w_dim=8, mapping_layers=1, mapping_fmaps=8)
    widths = (16,) * 8 + (8,) * 2
    sees = GHFeatEncoderConfig(img_resolution=64, width=4, depths=(1,) * 4, pyramid=8, style_widths=widths)
    seer = ghfeat_encoder.Encoder(sees).eval()
    save_model(repo / "ghfeat", stylegan.Generator(one).eval(), About(name="ghfeat"), encoder=seer)
    return repo


@pytest.fixture
def run(context, submit, finished) -> Callable[..., Any]:
    works = {"invert": invert, "edit": edit, "generate": generate}

    def ended(kind: str = "invert", model: str = "tiny", fails: bool = False, **input: Any) -> Any:
        if kind == "invert":
            input = {"losses": PIXELS, "preview_every": 0} | input
        row = submit(kind, model=model, input=input)
        run_job(row.id, works[kind], context)
        row = finished(row)
        assert fails or row.status is Status.SUCCEEDED, row.error
        return row

    return ended


@pytest.fixture
def portrait(context) -> np.ndarray:
    """A picture (16, 16, 3) of the model's own."""
    network = context.models.get(TENANT, "tiny").generator
    with torch.no_grad():
        return to_uint8(network(sample_z([3], network), psi=0.7))[0].numpy()


def reconstruction(job: Any, read: Callable[..., bytes]) -> np.ndarray:
    return pixels_of(read(job, "reconstruction_0000.png"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_makes_a_picture_and_latents(method, run, upload, read):
    job = run(images=[upload(ramp())], **briefly(method, upload))
    [about] = job.result["images"]
    assert about["steps"] == (5 if method == "pti" else FEW.get(method, STEPS))
    assert reconstruction(job, read).shape == (SIDE, SIDE, 3)
    latents = load_tensors(read(job, "latents.safetensors"))
    wanted = {"pulse": "w+", "multi_code": "codes"}.get(method, METHODS[method].space)
    assert wanted in latents


@pytest.mark.parametrize("space", ["z", "w", "w+", "s", "p", "p+"])
def test_latents_of_every_space_paint_the_reconstruction_again(space, run, upload, read):
    job = run(images=[upload(ramp())], method="projector", space=space, steps=10)
    source = {"artifact": {"job": job.id, "name": "latents.safetensors"}}
    again = run("generate", source=source, psi=1.0)
    difference = np.abs(
        pixels_of(read(again, "image_0000.png")).astype(int) - reconstruction(job, read).astype(int)
    )
    assert difference.max() <= 1  # z goes through the mapping in a block of another shape


def test_an_encoder_alone_is_one_look(run, upload, read, context):
    model = context.models.get(TENANT, "tiny")
    job = run(images=[upload(ramp())], method="encoder")
    with torch.no_grad():
        ws = model.encode(to_tensor(ramp()[None]))
        expected = to_uint8(model.generator.synthesize(ws))[0].numpy()
    torch.testing.assert_close(load_tensors(read(job, "latents.safetensors"))["w+"], ws, rtol=0, atol=1e-4)
    assert np.abs(reconstruction(job, read).astype(int) - expected).max() <= 1
    assert job.result["images"][0]["stopped"] == "encoder"
    assert "loss.png" not in {output.name for output in job.outputs}


def test_an_encoder_of_styles_is_searched_from_in_s(run, upload, read, context):
    picture = upload(ramp(64, 64))
    looked = run(model="ghfeat", images=[picture], method="encoder")
    model = context.models.get(TENANT, "ghfeat")
    with torch.no_grad():
        seen = model.encode(to_tensor(ramp(64, 64)[None]))
    found = load_tensors(read(looked, "latents.safetensors"))
    torch.testing.assert_close(found["s"], seen, rtol=0, atol=1e-4)
    source = {"artifact": {"job": looked.id, "name": "latents.safetensors"}}
    again = run("generate", model="ghfeat", source=source)
    assert (
        np.abs(pixels_of(read(again, "image_0000.png")).astype(int) - reconstruction(looked, read)).max() <= 1
    )
    nearer = run(model="ghfeat", images=[picture], steps=10).result["images"][0]["psnr_db"]
    assert nearer > looked.result["images"][0]["psnr_db"] + 1
    job = run(model="ghfeat", images=[picture], space="w", steps=1, fails=True)
    assert job.error.code == "unsupported_by_model" and "take the space s" in job.error.detail


def test_the_default_begins_at_the_encoder_where_there_is_one(run, upload, portrait):
    looked = run(images=[upload(portrait)], method="encoder").result["images"][0]["psnr_db"]
    found = run(images=[upload(portrait)], steps=100).result["images"][0]
    assert found["psnr_db"] > looked + 3
    barely = run(images=[upload(portrait)], steps=1, learning_rate=1e-6).result["images"][0]["psnr_db"]
    assert barely == pytest.approx(looked, abs=3)  # noise maps differ


def test_a_family_without_w_is_searched_in_z(run, upload, read, context):
    network = context.models.get(TENANT, "flat").generator
    own = upload(to_uint8(network(sample_z([5], network)))[0].numpy())
    before = run(model="flat", images=[own], steps=1).result["images"][0]["psnr_db"]
    job = run(model="flat", images=[own], steps=200)
    assert job.result["images"][0]["psnr_db"] > before + 10
    assert load_tensors(read(job, "latents.safetensors"))["z"].shape == (1, 5)


# --- features --------------------------------------------------------------------------------------------


@pytest.fixture
def featured(run, upload) -> Any:
    return run(images=[upload(ramp()), upload(ramp()[::-1])], space="features", steps=20)


def test_features_fit_better_than_any_w_and_name_their_layer(run, upload, featured, read, context):
    ws = run(images=[upload(ramp())], space="w+", steps=20).result["images"][0]["psnr_db"]
    assert featured.result["images"][0]["psnr_db"] > ws + 1
    body = read(featured, "latents.safetensors")
    tensors = load_tensors(body)
    assert tensors["features:b4.conv1"].shape == (2, 16, 4, 4)
    assert tensors["w+"].shape == (2, 6, 16) and len(tensors) == 2
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    about = json.loads(header["__metadata__"]["ganserve"])
    assert (about["space"], about["layer"]) == ("features", "b4.conv1")
    assert about["model_sha256"] == context.models.get(TENANT, "tiny").sha256


def test_held_styles_stay_what_the_encoder_saw(run, upload, read, context):
    features = {"layer": "b8.conv0", "styles": "held"}
    job = run(images=[upload(ramp())], space="features", steps=5, features=features)
    found = load_tensors(read(job, "latents.safetensors"))
    with torch.no_grad():
        seen = context.models.get(TENANT, "tiny").encode(to_tensor(ramp()[None]))
    torch.testing.assert_close(found["w+"], seen, rtol=0, atol=1e-4)
    assert found["features:b8.conv0"].shape == (1, 16, 8, 8)


@pytest.mark.parametrize("index, picture", [(None, 0), (1, 1)])
def test_features_paint_the_reconstruction_again(run, featured, read, index, picture):
    artifact = {"job": featured.id, "name": "latents.safetensors"} | (
        {} if index is None else {"index": index}
    )
    again = run("generate", source={"artifact": artifact})
    wanted = pixels_of(read(featured, f"reconstruction_{picture:04d}.png")).astype(int)
    assert np.abs(pixels_of(read(again, "image_0000.png")).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    "given, detail",
    [
        ({"interpolate": {"frames": 3}}, "features cannot be brought back"),
        ({"interpolate": {"frames": 3, "mode": "slerp"}}, "take linear"),
    ],
)
def test_features_are_not_blended(run, featured, given, detail):
    source = {"artifact": {"job": featured.id, "name": "latents.safetensors"}}
    job = run("generate", source=source, fails=True, **given)
    assert job.error.code == "unsupported_by_model" and detail in job.error.detail


def test_an_edit_moves_features_as_much_as_their_layer_moves(run, featured, read, context):
    source = {"artifact": {"job": featured.id, "name": "latents.safetensors"}}
    step = [0.5] + [0.0] * 15
    along = {"op": "direction", "vector": {"space": "w", "values": [step]}}
    job = run("edit", source=source, operations=[along])
    found = load_tensors(read(featured, "latents.safetensors"))
    network, layer = context.models.get(TENANT, "tiny").generator, "b4.conv1"
    moved = found["w+"] + torch.tensor(step)
    with torch.no_grad():
        change = made(network, layer, moved) - made(network, layer, found["w+"])
        maps = {layer: found[f"features:{layer}"] + change}
        expected = network.synthesize(moved, "none", hook=lambda name, x: maps.get(name, x))
    pictures = [pixels_of(read(job, f"edit_{i:04d}.png")) for i in range(2)]
    assert np.abs(to_uint8(expected).numpy().astype(int) - np.stack(pictures)).max() <= 1


def test_features_of_another_model_are_refused(run, featured):
    source = {"artifact": {"job": featured.id, "name": "latents.safetensors"}}
    job = run("generate", model="wide", source=source, fails=True)
    assert job.error.code == "latent_shape"


# --- restoration -----------------------------------------------------------------------------------------


def test_inpainting_keeps_what_is_known_to_the_bit(run, upload, read, portrait):
    holes = np.zeros((SIDE, SIDE, 3), np.uint8)
    holes[4:12, 4:12] = 255
    spoilt = portrait.copy()
    spoilt[4:12, 4:12] = 255 - portrait[4:12, 4:12]
    degradation = {"type": "mask", "image": upload(holes)}
    one = run(images=[upload(spoilt)], degradation=degradation, steps=60, method="projector", space="w")
    found = reconstruction(one, read)
    assert np.array_equal(found[holes == 0], portrait[holes == 0])
    spoilt[4:12, 4:12] = 0
    other = run(images=[upload(spoilt)], degradation=degradation, steps=60, method="projector", space="w")
    assert np.array_equal(reconstruction(other, read), found)  # what is missing does not matter


def test_colourisation_keeps_the_luminance(run, upload, read, portrait):
    luminance = (portrait @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    grey = np.repeat(luminance[..., None], 3, axis=2)
    found = reconstruction(run(images=[upload(grey)], degradation={"type": "gray"}, steps=30), read)
    again = found @ np.array([0.299, 0.587, 0.114])
    assert np.abs(again - luminance).max() <= 1.5
    assert (found.max(axis=2) - found.min(axis=2)).max() > 0  # there is colour


def test_super_resolution_agrees_with_the_small_picture(run, upload, read, portrait):
    small = portrait.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    degradation = {"type": "downsample", "factor": 4}
    job = run(images=[upload(small)], degradation=degradation, steps=30)
    found = reconstruction(job, read)
    assert found.shape == (SIDE, SIDE, 3)
    means = found.reshape(4, 4, 4, 4, 3).mean(axis=(1, 3))
    assert np.abs(means - small).max() <= 1
    assert pixels_of(read(job, "original_0000.png")).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("degradation", [{"type": "noise"}, {"type": "jpeg", "quality": 20}])
def test_other_degradations_run(run, upload, degradation):
    assert run(images=[upload(ramp())], degradation=degradation, steps=5).result["images"][0]["steps"] == 5


def test_a_mask_that_is_not_there_is_unknown(run, upload):
    degradation = {"type": "mask", "image": "img_" + "0" * 64}
    job = run(images=[upload(ramp())], degradation=degradation, fails=True)
    assert job.error.code == "unknown_image"


# --- tuning ----------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(run, upload) -> Any:
    return run(images=[upload(ramp())], method="pti", steps=20, tuning={"steps": 60, "learning_rate": 0.003})


def test_tuning_comes_nearer_than_its_pivot(run, upload, tuned):
    pivot = run(images=[upload(ramp())], method="projector", steps=20).result["images"][0]["psnr_db"]
    assert tuned.result["images"][0]["psnr_db"] > pivot + 2


def test_tuned_latents_are_small_and_paint_with_their_own_generator(run, tuned, read, context):
    tensors = load_tensors(read(tuned, "latents.safetensors"))
    assert "w" in tensors and any(name.startswith("tuning:0:") for name in tensors)
    delta = {n.removeprefix("tuning:0:"): t for n, t in tensors.items() if n.startswith("tuning:0:")}
    whole = sum(p.numel() * 4 for p in context.models.get(TENANT, "tiny").generator.parameters())
    assert weight_delta.size(delta) < 0.15 * whole
    source = {"artifact": {"job": tuned.id, "name": "latents.safetensors"}}
    again = run("generate", source=source, psi=1.0)
    assert np.array_equal(pixels_of(read(again, "image_0000.png")), reconstruction(tuned, read))


def test_edits_of_tuned_latents_begin_at_the_tuned_picture(run, tuned, read):
    source = {"artifact": {"job": tuned.id, "name": "latents.safetensors"}}
    operation = {"op": "direction", "name": "sefa_0", "strength": 2.0}
    job = run("edit", source=source, operations=[operation])
    strip = pixels_of(read(job, "strip_0000.png"))
    assert np.array_equal(strip[:, :SIDE], reconstruction(tuned, read))
    assert not np.array_equal(strip[:, -SIDE:], strip[:, :SIDE])


def test_tuned_latents_are_not_blended(run, tuned):
    source = {"artifact": {"job": tuned.id, "name": "latents.safetensors"}}
    job = run("generate", source=source, interpolate={"frames": 3}, fails=True)
    assert job.error.code == "unsupported_by_model" and "tuned" in job.error.detail


def test_codes_of_many_are_no_latents_for_other_jobs(run, upload):
    job = run(images=[upload(ramp())], method="multi_code", steps=2, multi_code={"codes": 3})
    source = {"artifact": {"job": job.id, "name": "latents.safetensors"}}
    assert run("generate", source=source, fails=True).error.code == "unknown_artifact"


def test_a_drained_tuning_goes_on_where_it_was(context, submit, finished, upload, read):
    given = {
        "images": [upload(ramp())],
        "method": "pti",
        "steps": 5,
        "tuning": {"steps": 150},
        "losses": PIXELS,
        "preview_every": 0,
    }
    whole, cut = submit("invert", input=given), submit("invert", input=given)
    run_job(whole.id, invert, context)
    begun, publish = threading.Event(), context.live.publish

    def watch(job_id: str, event: dict[str, Any]) -> None:
        if event["type"] == "progress" and (event["progress"].get("steps") == 150):
            begun.set()
        publish(job_id, event)

    context.live.publish = watch
    context.drain.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_job, cut.id, invert, context)
        assert begun.wait(30)
        context.drain.set()
        assert running.result() is Outcome.RELEASED
    held = finished(cut)
    assert "pivot" in load_tensors(context.blobs.read(held.checkpoint_key))
    context.drain.clear()
    assert run_job(cut.id, invert, context) is Outcome.SUCCEEDED
    for name in ("reconstruction_0000.png", "latents.safetensors"):
        assert read(finished(cut), name) == read(finished(whole), name)


# --- losses and alignment --------------------------------------------------------------------------------


def test_weights_that_are_missing_are_named(run, upload):
    for losses, file in (
        ({"distance": "lpips-vgg"}, "vgg16.pth"),
        ({"distance": "lpips-alex"}, "alexnet.pth"),
        ({"identity": 1.0}, "arcface.pth"),
    ):
        job = run(images=[upload(ramp())], losses=PIXELS | losses, steps=2, fails=True)
        assert job.error.code == "missing_weights"
        assert file in job.error.detail and "GANSERVE_LOSS_WEIGHTS" in job.error.detail


def test_weights_that_are_given_are_used(run, upload, context, tmp_path):
    torch.manual_seed(0)
    distance = lpips.LPIPS("alex")
    features = {f"features.{name}": t for name, t in distance.features.state_dict().items()}
    lins = {f"lin{i}.model.1.weight": lin.weight.abs() for i, lin in enumerate(distance.lins)}
    torch.save(features, tmp_path / "alexnet.pth")
    torch.save(lins, tmp_path / "lpips_alex.pth")
    networks = LossNetworks(tmp_path, "cpu")
    assert networks.get("lpips-alex") is networks.get("lpips-alex")
    object.__setattr__(context, "losses", networks)
    losses = {"distance": "lpips-alex", "pixel": 0.0, "perceptual": 1.0}
    first, last = (
        run(
            images=[upload(np.kron(ramp(), np.ones((4, 4, 1), np.uint8)))],
            model="wide",
            losses=losses,
            steps=n,
        )
        for n in (1, 30)
    )
    assert last.result["images"][0]["loss"] < first.result["images"][0]["loss"]

    (tmp_path / "arcface.pth").write_bytes(b"GIF89a")
    with pytest.raises(JobFailed, match=r"arcface\.pth cannot be used"):
        networks.get("identity")


def test_a_face_is_cut_out_by_its_landmarks_and_put_back(run, upload, read):
    canvas = np.full((120, 128, 3), 30, np.uint8)
    canvas[48:80, 48:80] = np.kron(ramp(), np.ones((2, 2, 1), np.uint8))
    points = np.full((68, 2), 64.0)
    points[36:42], points[42:48], points[[48, 54]] = (56, 60), (72, 60), (64, 77)
    frame = ffhq_frame_of_landmarks(points)
    job = run(images=[upload(canvas)], align="ffhq", landmarks=[points.tolist()], steps=5)
    square = cut(to_tensor(canvas[None])[0], frame, SIDE)
    shown = pixels_of(read(job, "original_0000.png"))
    np.testing.assert_array_equal(shown, to_uint8(square[None])[0].numpy())
    pasted = pixels_of(read(job, "pasted_0000.png"))
    assert pasted.shape == canvas.shape
    assert np.array_equal(pasted[:28], canvas[:28])  # outside of the square nothing has changed
    assert not np.array_equal(pasted[56:72, 56:72], canvas[56:72, 56:72])


def test_without_landmarks_the_face_is_looked_for(run, upload, read, context, monkeypatch, tmp_path):
    points = np.zeros((193, 10))
    points[-1] = [24, 28, 40, 28, 32, 34, 28, 45, 36, 45]
    file = save_detector(tmp_path / "faces.onnx", {0: (48.0, points)})
    monkeypatch.setitem(vars(context), "faces", FaceDetector(file))
    canvas = np.kron(ramp(), np.ones((4, 4, 1), np.uint8))
    job = run(images=[upload(canvas)], align="ffhq", steps=2)
    square = cut(to_tensor(canvas[None])[0], ffhq_frame(24 + 28j, 40 + 28j, 32 + 45j), SIDE)
    shown = pixels_of(read(job, "original_0000.png")).astype(int)
    assert np.abs(shown - to_uint8(square[None])[0].numpy()).max() <= 1
    assert pixels_of(read(job, "pasted_0000.png")).shape == canvas.shape


def test_without_a_detector_the_file_to_give_is_named(run, upload):
    job = run(images=[upload(ramp())], align="ffhq", fails=True)
    assert job.error.code == "missing_weights" and "GANSERVE_LANDMARK_MODEL" in job.error.detail


def test_without_a_network_for_faces_the_alignment_says_what_to_give(run, upload):
    job = run(images=[upload(ramp())], align="auto", fails=True)
    assert job.error.code == "unsupported_by_model" and "landmarks" in job.error.detail
