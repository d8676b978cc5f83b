"""What a caller sees, on the real stack."""

import hashlib
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest

from client.errors import Missing, Refused, StateConflict

from .conftest import MODEL, finished, inversion
from .stack import eventually


def generation(seeds, **output):
    return {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": seeds}}, "output": output}


def test_generate_makes_pictures_a_grid_and_latents(client, tmp_path):
    job = finished(client, client.submit(generation("0-4", grid=True, latents="w+")))

    assert [o.role for o in job.outputs].count("image") == 5
    assert {"image", "grid", "latents"} <= {o.role for o in job.outputs}
    paths = client.download(job, tmp_path)
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in paths] == [o.sha256 for o in job.outputs]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths if p.suffix == ".png")


def test_waiting_for_a_short_job_gives_it_finished(stack):
    reply = httpx.post(
        f"{stack.url}/v1/jobs", json=generation([1]), headers={"Prefer": "wait=60"}, timeout=70
    )

    assert reply.status_code == 200
    assert reply.json()["status"] == "succeeded"


def test_a_film_between_seeds(client):
    request = generation([1, 2, 3])
    request["input"]["interpolate"] = {"frames": 12, "loop": True}

    job = finished(client, client.submit(request))

    film = next(o for o in job.outputs if o.role == "film")
    assert film.media_type == "video/mp4"


def test_invert_then_edit_the_latents_it_found(client, picture):
    image = client.upload_image(picture)
    inverted = finished(client, client.submit(inversion(image.id, steps=60) | {"output": {"latents": "w+"}}))
    latents = next(o for o in inverted.outputs if o.role == "latents")
    [direction, *_] = client.directions(MODEL)

    edited = finished(
        client,
        client.submit(
            {
                "kind": "edit",
                "model": MODEL,
                "input": {
                    "source": {"artifact": {"job": inverted.id, "name": latents.name}},
                    "operations": [{"op": "direction", "name": direction["name"]}],
                    "sweep": {"strengths": [-2, 0, 2]},
                },
            }
        ),
    )

    assert inverted.result["images"][0]["steps"] == 60
    assert {"reconstruction", "plot", "latents"} <= {o.role for o in inverted.outputs}
    assert len([o for o in edited.outputs if o.role == "image"]) == 3
    assert {"strip", "grid"} <= {o.role for o in edited.outputs}


def test_edit_inverts_an_uploaded_picture_first(client, picture):
    image = client.upload_image(picture)
    [direction, *_] = client.directions(MODEL)
    inputs = {
        "source": {"images": [image.id]},
        "operations": [{"op": "direction", "name": direction["name"]}],
        "inversion": {"steps": 20, "losses": {"pixel": 1.0, "perceptual": 0.0}},
    }

    job = finished(client, client.submit({"kind": "edit", "model": MODEL, "input": inputs}))

    assert any(o.role == "image" for o in job.outputs)


def test_fifty_parallel_posts_with_one_key_make_one_job(client, stack):
    before = len(client.jobs(limit=None))
    body = generation([7])

    def post(_):
        return httpx.post(f"{stack.url}/v1/jobs", json=body, headers={"Idempotency-Key": "fifty"}, timeout=60)

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(post, range(50)))

    # While the first one runs, the others may be told to come again; after that they all get its answer.
    assert {r.status_code for r in replies} <= {202, 409}
    ids = {r.json()["id"] for r in replies if r.status_code == 202}
    assert len(ids) == 1
    assert post(0).json()["id"] in ids
    assert len(client.jobs(limit=None)) == before + 1


def test_a_key_with_another_body_is_refused(client):
    client.submit(generation([7]), idempotency_key="one body")

    with pytest.raises(Refused, match="idempotency_key_reused"):
        client.submit(generation([8]), idempotency_key="one body")


def test_a_stream_resumes_after_the_event_that_was_seen_last(client, picture):
    image = client.upload_image(picture)
    job = client.submit(inversion(image.id, steps=80, preview_every=10))

    events = list(client.stream(job.id))
    assert events[0].type == "status" and events[0].data["status"] == "queued"
    assert events[-1].type == "end" and events[-1].job().status == "succeeded"
    assert "progress" in {e.type for e in events}
    durable = [e.seq for e in events if e.seq is not None and e.type != "progress"]
    assert durable == sorted(durable)

    running = next(e for e in events if e.type == "status" and e.data["status"] == "running")
    again = list(client.stream(job.id, after_seq=running.seq))
    assert [e.type for e in again if e.type in ("status", "end")][-1] == "end"
    assert all(e.seq is None or e.seq > running.seq for e in again)


def test_a_queued_job_is_canceled_at_once_and_can_be_retried(client, stack):
    [worker] = stack.workers()
    stack.send_signal(worker, signal.SIGSTOP)
    job = client.submit(generation([3]))

    canceled = client.cancel(job.id)

    assert canceled.status == "canceled" and canceled.terminal
    assert client.cancel(job.id).seq == canceled.seq  # twice is fine
    stack.send_signal(worker, signal.SIGCONT)
    again = client.retry(job.id)
    assert again.id == job.id
    assert finished(client, again).status == "succeeded"
    with pytest.raises(StateConflict, match="already_finished"):
        client.cancel(job.id)


def test_a_running_job_stops_soon_after_it_is_canceled(client, picture):
    image = client.upload_image(picture)
    job = client.submit(inversion(image.id, steps=5000))
    assert eventually(lambda: client.get(job.id).status == "running")

    asked = client.cancel(job.id)
    assert asked.cancel_requested or asked.status == "canceled"

    assert client.wait(job.id, timeout_s=30, check=False).status == "canceled"


def test_a_job_whose_deadline_passes_unclaimed_expires(client, stack):
    [worker] = stack.workers()
    stack.send_signal(worker, signal.SIGSTOP)

    job = client.submit({**generation([3]), "deadline_s": 0.5})

    assert client.wait(job.id, timeout_s=30, check=False).status == "expired"


def test_a_job_over_its_time_limit_fails_as_timeout(client, picture):
    image = client.upload_image(picture)
    job = client.submit({**inversion(image.id, steps=5000), "timeout_s": 1})

    ended = client.wait(job.id, timeout_s=60, check=False)

    assert (ended.status, ended.error.code) == ("failed", "timeout")


def test_a_deleted_job_is_gone_with_its_files(client):
    job = finished(client, client.submit(generation([2])))
    url = client.get(job.id).outputs[0].url

    client.delete(job.id)

    with pytest.raises(Missing):
        client.get(job.id)
    assert httpx.get(url).status_code in (404, 410)


def test_lists_page_through_everything_once(client):
    for seed in range(3):
        client.submit({**generation([seed]), "metadata": {"test": "paging"}})
    filters = {"metadata.test": "paging"}

    found = client.jobs(limit=None, **filters)

    assert len(found) == 3
    assert found == sorted(found, key=lambda job: job.created_at, reverse=True)


def test_pictures_say_how_they_were_made(client, tmp_path):
    job = finished(client, client.submit(generation([11])))
    [path] = client.download(job, tmp_path)

    content = path.read_bytes()
    start = content.index(b"iTXtganserve\0")
    provenance = json.loads(content[content.index(b"{", start) : content.index(b"IDAT", start) - 8])

    assert provenance["model"] == MODEL
    assert provenance["model_sha256"] == client.model(MODEL)["sha256"]
    assert 11 in provenance.values()


def test_evaluate_compares_a_model_with_renders_of_its_world(client, tmp_path):
    job = client.submit({"kind": "evaluate", "model": "portraits", "input": {"count": 64, "seed": 1}})

    events = list(client.stream(job.id))

    assert {e.data["message"] for e in events if e.type == "progress"} <= {
        "samples", "reference", "renders", "noisy renders", "comparing samples", "comparing renders",
        "comparing renders with 5 % noise",
    }  # fmt: skip
    ended = events[-1].job()
    assert ended.status == "succeeded", ended.error
    samples, renders, noisy = ended.result["sets"]
    assert samples["fid"] < noisy["fid"] and renders["fid"] < noisy["fid"]
    assert len(ended.result["factors"]) == 27
    names = {path.name for path in client.download(client.get(job.id), tmp_path)}
    assert names == {"report.md", "factors.png", "nearest.png"}


def test_evaluate_compares_with_the_pictures_of_an_earlier_job(client):
    made = finished(client, client.submit(generation("0-31")))
    request = {"metrics": ["fid", "pr"], "count": 32, "psi": 0.7, "reference": {"job": made.id}}

    job = finished(client, client.submit({"kind": "evaluate", "model": MODEL, "input": request}))

    [row] = job.result["sets"]
    assert row["fid"] < 1e-6 and row["precision"] == 1
