"""invert: pictures that the model can paint are found again; a run cut in two ends as an uncut one."""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from generative.generator import sample_z
from generative.inversion.codes import CodeBook
from generative.inversion.search import Search, SearchOptions
from generative.pixels import to_uint8
from generative.program import run as plain_loop
from generative.spaces import Space
from jobs.schemas import Status
from tests.workers.given import TENANT, pixels_of, ramp
from workers.images import to_tensor
from workers.runner import Outcome, run_job
from workers.work.generate import generate
from workers.work.inversion import psnr_db
from workers.work.invert import difference, invert

PIXELS_ONLY = {"pixel": 1.0, "perceptual": 0.0}
STEPS = 40


@pytest.fixture
def wanted():
    """The input of a small job."""
    return lambda *images, **more: (
        {
            "images": images,
            "method": "projector",
            "space": "w+",
            "steps": STEPS,
            "losses": PIXELS_ONLY,
            "preview_every": 10,
        }
        | more
    )


@pytest.fixture
def run(context, submit, finished):
    def ended(input, **given):
        row = submit("invert", input=input, **given)
        run_job(row.id, invert, context)
        return finished(row)

    return ended


@pytest.fixture
def portrait(context) -> np.ndarray:
    """A picture (16, 16, 3) of the model's own."""
    network = context.models.get(TENANT, "tiny").generator
    with torch.no_grad():
        return to_uint8(network(sample_z([3], network), psi=0.7))[0].numpy()


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_picture_of_the_model_is_found_again(run, upload, read, wanted, portrait, space):
    free_noise = PIXELS_ONLY | {"noise_regularization": 0.0}
    job = run(wanted(upload(portrait), steps=300, space=space, losses=free_noise))
    assert job.status is Status.SUCCEEDED
    [about] = job.result["images"]
    assert (about["steps"], about["stopped"]) == (300, "steps") and about["psnr_db"] > 22
    painted, original = (
        pixels_of(read(job, "reconstruction_0000.png")),
        pixels_of(read(job, "original_0000.png")),
    )
    assert np.array_equal(original, portrait)
    assert about["psnr_db"] == pytest.approx(psnr_db(original, painted), abs=0.01)


def test_everything_that_was_promised_comes_out(run, upload, read, wanted):
    job = run(wanted(upload(ramp()), upload(ramp()[::-1])))
    assert sorted(o.name for o in job.outputs) == [
        "comparison_0000.png", "comparison_0001.png", "difference_0000.png", "difference_0001.png",
        "latents.safetensors", "loss.png", "original_0000.png", "original_0001.png", "progress_0000.mp4",
        "progress_0001.mp4", "reconstruction_0000.png", "reconstruction_0001.png",
    ]  # fmt: skip
    assert {o.role for o in job.outputs} == {
        "comparison", "difference", "film", "latents", "plot", "original", "reconstruction"
    }  # fmt: skip
    comparison = pixels_of(read(job, "comparison_0001.png"))
    assert np.array_equal(comparison[:, :16], ramp()[::-1])
    painted = pixels_of(read(job, "reconstruction_0001.png"))
    assert np.array_equal(comparison[:, 18:34], painted)
    assert np.array_equal(comparison[:, -16:], difference(ramp()[::-1], painted))


def test_the_result_is_that_of_the_plain_loop(run, upload, read, wanted, context):
    model = context.models.get(TENANT, "tiny")
    program = Search(model.generator, model.codes.get(Space.W_PLUS), None)
    options = SearchOptions(steps=STEPS, learning_rate=0.1, pixel=1.0, perceptual=0.0, seed=5)
    course = plain_loop(program, program.problems(to_tensor(ramp()[None]), options))

    job = run(wanted(upload(ramp()), seed=5))

    found = load_tensors(read(job, "latents.safetensors"))
    assert torch.allclose(found["w+"], course.params["w"], atol=1e-4)
    assert job.result["images"][0]["loss"] == pytest.approx(course.curves[0]["pixel"][-1], abs=1e-4)


def test_the_latents_paint_the_reconstruction_when_another_job_takes_them(
    run, upload, read, wanted, context, submit, finished
):
    job = run(wanted(upload(ramp())))
    source = {"artifact": {"job": job.id, "name": "latents.safetensors"}}
    row = submit("generate", input={"source": source})
    run_job(row.id, generate, context)
    assert read(finished(row), "image_0000.png")
    painted, again = (
        pixels_of(read(job, "reconstruction_0000.png")),
        pixels_of(read(finished(row), "image_0000.png")),
    )
    assert np.array_equal(painted, again)


def test_the_latents_file_names_its_model(run, upload, read, wanted, context):
    body = read(run(wanted(upload(ramp()), space="w")), "latents.safetensors")
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    about = json.loads(header["__metadata__"]["ganserve"])
    assert about["model_sha256"] == context.models.get(TENANT, "tiny").sha256 and about["space"] == "w"


def test_progress_and_previews_are_shown_as_the_steps_go(run, upload, wanted, context):
    run(wanted(upload(ramp()), steps=60))
    events = context.live.events
    steps = [e["progress"]["step"] for e in events if e["type"] == "progress" and e["progress"]["step"]]
    assert steps == sorted(steps) and {e["progress"]["steps"] for e in events if e["type"] == "progress"} >= {
        60
    }
    preview = [e for e in events if e["type"] == "preview"][-1]
    picture = pixels_of(base64.b64decode(preview["data"]))
    assert preview["media_type"] == "image/jpeg" and max(picture.shape) <= 256
    assert len(preview["data"]) < 64 * 1024


def test_a_picture_that_is_not_square_is_cut_to_its_middle(run, upload, read, wanted):
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = ramp(32, 32)
    original = pixels_of(read(run(wanted(upload(wide), steps=2)), "original_0000.png"))
    assert np.abs(original.astype(int) - ramp(32, 32).reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))).max() <= 1


@pytest.mark.parametrize("space", ["w+", "features"])
def test_a_drained_inversion_goes_on_and_ends_bit_for_bit_as_if_it_had_not_been(
    space, context, submit, finished, upload, wanted, read
):
    image = upload(ramp())
    whole = submit("invert", input=wanted(image, steps=120, space=space))
    run_job(whole.id, invert, context)

    cut = submit("invert", input=wanted(image, steps=120, space=space))
    context.drain.clear()
    begun = threading.Event()
    advance = context.live.publish

    def watch(job_id, event):
        if event["type"] == "progress" and (event["progress"]["step"] or 0) >= 5:
            begun.set()
        advance(job_id, event)

    context.live.publish = watch
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_job, cut.id, invert, context)
        assert begun.wait(20)
        context.drain.set()
        assert running.result() is Outcome.RELEASED
    held = finished(cut)
    assert (held.status, held.attempts) == (Status.QUEUED, 0)
    step = int(held.checkpoint_key.rpartition("-")[2].removesuffix(".safetensors"))
    assert 5 <= step < 120

    context.drain.clear()
    assert run_job(cut.id, invert, context) is Outcome.SUCCEEDED
    uncut, resumed = finished(whole), finished(cut)
    assert resumed.result == uncut.result
    for name in ("reconstruction_0000.png", "latents.safetensors", "loss.png"):
        assert read(resumed, name) == read(uncut, name)


def test_a_checkpoint_that_is_gone_means_starting_over(context, submit, finished, upload, wanted):
    row = submit("invert", input=wanted(upload(ramp()), steps=3))

    def interrupted(job):
        job.reporter.checkpoint(1, {"x": torch.zeros(1)})
        context.blobs.delete(list(context.blobs.list(f"{row.prefix}ckpt/")))
        context.drain.set()
        job.reporter.check()

    assert run_job(row.id, interrupted, context) is Outcome.RELEASED
    context.drain.clear()
    assert run_job(row.id, invert, context) is Outcome.SUCCEEDED


def test_an_image_that_is_not_there_is_unknown(run, wanted):
    assert run(wanted(f"img_{'0' * 64}")).error.code == "unknown_image"


def test_a_model_without_a_perceptual_network_says_so(run, upload, wanted):
    job = run(wanted(upload(ramp()), losses={"pixel": 1.0, "perceptual": 1.0}))
    assert job.error.code == "unsupported_by_model" and "perceptual" in job.error.detail


def test_a_number_that_is_none_fails_the_job_as_diverged(run, upload, wanted, context, monkeypatch):
    model = context.models.get(TENANT, "tiny")
    spread = replace(model.statistics, mean=torch.full_like(model.statistics.mean, torch.nan))
    broken = replace(model, codes=CodeBook(model.generator, spread))
    monkeypatch.setattr(context.models, "get", lambda tenant, name: broken)
    job = run(wanted(upload(ramp())))
    assert (job.status, job.error.code) == (Status.FAILED, "diverged")
    assert "step 1" in job.error.detail and "nan" in job.error.detail
    assert not job.outputs  # never a blank picture


def test_two_inversions_at_once_end_as_each_would_alone_to_float_tolerance(
    context, submit, finished, upload, wanted
):
    images = [upload(ramp()), upload(ramp()[::-1])]
    alone = []
    for image in images:
        row = submit("invert", input=wanted(image))
        run_job(row.id, invert, context)
        alone.append(finished(row).result["images"][0]["psnr_db"])
    rows = [submit("invert", input=wanted(image)) for image in images]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda row: run_job(row.id, invert, context), rows))
    together = [finished(row).result["images"][0]["psnr_db"] for row in rows]
    assert together == pytest.approx(alone, abs=0.5)


def test_psnr_of_known_pictures():
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert psnr_db(grey, grey) == 99
    assert psnr_db(grey, grey + 1) == pytest.approx(48.13, abs=0.01)
