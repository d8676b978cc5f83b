"""The command line against a service of a few lines: what it sends, prints and exits with."""

import json

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from client import sync
from client.cli import app

from .conftest import JOB_ID, PICTURE, event, view


@pytest.fixture
def ganserve(service, monkeypatch, tmp_path):
    """Run a command with `service` behind it, in an empty folder."""

    def client(**options):
        return original(**options | {"transport": httpx.MockTransport(service)})

    original = sync.httpx.Client
    monkeypatch.setattr(sync.httpx, "Client", client)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, arguments)

    return run


def finished(job):
    return httpx.Response(200, content=event("end", job, 4), headers={"content-type": "text/event-stream"})


def queued(**changes):
    return httpx.Response(202, json=view(status="queued", terminal=False, outputs=[], seq=1, **changes))


def test_generate_submits_follows_and_downloads(ganserve, service, tmp_path):
    service.replies = [queued(), finished(view()), httpx.Response(200, content=PICTURE)]

    result = ganserve("generate", "--seeds", "0-3", "--psi", "0.5", "--grid", "--out", "pictures")

    assert result.exit_code == 0, result.output
    body = json.loads(service.requests[0].content)
    assert body["input"] == {"source": {"seeds": "0-3"}, "psi": 0.5, "noise": "const"}
    assert body["output"]["grid"] is True
    assert (tmp_path / "pictures" / "0.png").read_bytes() == PICTURE


def test_what_was_not_said_is_left_to_the_service(ganserve, service):
    service.replies = [queued(), queued()]

    assert ganserve("generate", "--class", "7", "--lod", "1.5", "--no-wait").exit_code == 0
    assert ganserve("generate", "--class", "7up bottle", "--no-wait").exit_code == 0

    said = [json.loads(request.content)["input"] for request in service.requests]
    assert said[0] == {"source": {"seeds": "0"}, "noise": "const", "class": 7, "lod": 1.5}
    assert said[1]["class"] == "7up bottle"


def test_a_job_can_name_whom_to_tell(ganserve, service):
    service.replies = [queued()]

    assert ganserve("generate", "--webhook", "https://hooks.example/", "--no-wait").exit_code == 0

    assert json.loads(service.requests[0].content)["webhook"] == {"url": "https://hooks.example/"}


def test_json_prints_the_job_and_nothing_else_on_standard_output(ganserve, service):
    service.replies = [queued(), finished(view()), httpx.Response(200, content=PICTURE)]

    result = ganserve("generate", "--json")

    assert json.loads(result.stdout)["status"] == "succeeded"


def test_a_job_that_fails_ends_with_exit_code_1_and_its_code(ganserve, service):
    failed = view(status="failed", outputs=[], error={"code": "diverged", "detail": "loss is NaN at step 3"})
    service.replies = [queued(), finished(failed)]

    result = ganserve("generate")

    assert result.exit_code == 1
    assert "loss is NaN" in result.stderr


def test_a_refused_request_ends_with_exit_code_2_and_names_the_field(ganserve, service):
    body = {
        "type": "t", "title": "T", "status": 422, "detail": "There is no model 'ffqh'.",
        "code": "unknown_model", "request_id": "r", "errors": [{"path": "model", "message": "unknown"}],
    }  # fmt: skip
    service.replies = [httpx.Response(422, json=body)]

    result = ganserve("generate", "--model", "ffqh")

    assert result.exit_code == 2
    assert "unknown_model" in result.stderr and "model: unknown" in result.stderr


def test_a_request_that_the_schemas_refuse_is_never_sent(ganserve, service):
    result = ganserve("generate", "--seeds", "9-1")

    assert result.exit_code == 2
    assert "upwards" in result.stderr
    assert service.requests == []


def test_no_service_ends_with_exit_code_3_and_a_hint(ganserve, service):
    service.replies = [httpx.ConnectError("refused")] * 6

    result = ganserve("jobs", "get", JOB_ID)

    assert result.exit_code == 3
    assert "ganserve up" in result.stderr


def uploaded(digit="0"):
    image = {
        "id": "img_" + digit * 64, "width": 64, "height": 64, "media_type": "image/png", "size_bytes": 3,
        "sha256": digit * 64, "created_at": "", "url": "",
    }  # fmt: skip
    return httpx.Response(201, json=image)


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    return "a.png"


def test_invert_leaves_to_the_service_what_was_not_said(ganserve, service, picture):
    service.replies = [uploaded(), queued(kind="invert")] * 2

    assert ganserve("invert", picture, "--no-wait").exit_code == 0
    assert (
        ganserve("invert", picture, "--method", "pti", "--space", "w+", "--steps", "9", "--no-wait").exit_code
        == 0
    )

    bare, told = (json.loads(service.requests[i].content)["input"] for i in (1, 3))
    assert bare == {"images": ["img_" + "0" * 64], "seed": 0}
    assert told == bare | {"method": "pti", "space": "w+", "steps": 9}


def test_invert_says_where_the_face_is_and_which_class(ganserve, service, picture):
    service.replies = [uploaded(), queued(kind="invert")]

    said = ("--align", "ffhq", "--class", "tench", "--space", "features")
    assert ganserve("invert", picture, *said, "--no-wait").exit_code == 0
    sent = json.loads(service.requests[1].content)["input"]
    assert (sent["align"], sent["class"], sent["space"]) == ("ffhq", "tench", "features")


@pytest.mark.parametrize(
    "said, meant",
    [
        ("gray", {"type": "gray"}),
        ("downsample:4", {"type": "downsample", "factor": 4}),
        ("jpeg:10", {"type": "jpeg", "quality": 10}),
    ],
)
def test_invert_restores_what_it_is_told_is_wrong(ganserve, service, picture, said, meant):
    service.replies = [uploaded(), queued(kind="invert")]

    assert ganserve("invert", picture, "--restore", said, "--no-wait").exit_code == 0
    assert json.loads(service.requests[1].content)["input"]["degradation"] == meant


def test_invert_uploads_its_mask(ganserve, service, picture):
    service.replies = [uploaded(), uploaded("1"), queued(kind="invert")]

    assert ganserve("invert", picture, "--mask", picture, "--no-wait").exit_code == 0
    mask = {"type": "mask", "image": "img_" + "1" * 64}
    assert json.loads(service.requests[2].content)["input"]["degradation"] == mask


@pytest.mark.parametrize("said", ["gray:2", "jpeg:ten", "blur:3"])
def test_a_degradation_that_cannot_be_understood_is_refused(ganserve, service, picture, said):
    service.replies = [uploaded()]
    result = ganserve("invert", picture, "--restore", said, "--no-wait")
    assert result.exit_code == 2 and "downsample:4" in result.output


def test_edit_uploads_its_picture_and_sweeps(ganserve, service, picture):
    service.replies = [uploaded(), queued(kind="edit")]

    result = ganserve("edit", "--image", picture, "-d", "smile=2", "--sweep", "-3,0,3", "--no-wait")

    assert result.exit_code == 0, result.output
    sent = json.loads(service.requests[1].content)["input"]
    assert sent["source"] == {"images": ["img_" + "0" * 64]}
    assert sent["operations"] == [{"op": "direction", "name": "smile", "strength": 2.0}]
    assert sent["sweep"] == {"strengths": [-3.0, 0.0, 3.0]}
    assert result.stdout.strip() == JOB_ID


@pytest.mark.parametrize("extra", [[], ["--seeds", "1", "--artifact", JOB_ID + "/l.safetensors"]])
def test_edit_wants_exactly_one_source(ganserve, service, extra):
    result = ganserve("edit", "-d", "smile", *extra)

    assert result.exit_code == 2
    assert service.requests == []


def test_edit_takes_any_operation_and_keeps_it_to_a_mask(ganserve, service, picture, tmp_path):
    file, mix = tmp_path / "edit.json", {"op": "mix", "with": {"seeds": [7]}, "layers": "0-3"}
    file.write_text(json.dumps([mix]))
    service.replies = [uploaded("1"), queued(kind="edit"), queued(kind="edit")]
    said = ["--seeds", "1", "-d", "smile", "--op", f"@{file}", "--no-wait"]

    assert ganserve("edit", *said, "--mask", picture, "--sweep", "-3,3").exit_code == 0
    sent = json.loads(service.requests[1].content)["input"]
    [region] = sent["operations"]
    assert region["mask"] == {"image": "img_" + "1" * 64}
    assert region["operations"] == [{"op": "direction", "name": "smile"}, mix]
    assert sent["sweep"] == {"strengths": [-3.0, 3.0], "inside": 0}

    assert ganserve("edit", *said, "--part", "hair", "--part", "hat").exit_code == 0
    assert json.loads(service.requests[2].content)["input"]["operations"][0]["mask"] == {
        "parts": ["hair", "hat"]
    }


@pytest.mark.parametrize("extra", [["--op", "{"], [], ["-d", "smile", "--part", "hair", "--mask", "PICTURE"]])
def test_edit_refuses_what_is_no_operation(ganserve, service, picture, extra):
    extra = [picture if word == "PICTURE" else word for word in extra]
    assert ganserve("edit", "--seeds", "1", *extra).exit_code == 2
    assert service.requests == []


EVALUATED = {
    "count": 100,
    "reference": {"kind": "renders", "count": 100},
    "sets": [{"name": "samples", "fid": 0.0512, "kid": 1e-5}, {"name": "renders", "fid": 0.011, "kid": 2e-6}],
    "ppl": {"length": 11.5, "space": "w", "sampling": "full", "pairs": 100},
    "factors": [{"name": "hat", "kind": "binary", "distance": 0.07, "floor": 0.01}],
    "identity": [{"change": "turned head", "consistency": 0.8, "drift": {}}],
}


def test_evaluate_prints_its_numbers_and_saves_the_files(ganserve, service, tmp_path):
    done = view(kind="evaluate", result=EVALUATED)
    service.replies = [queued(kind="evaluate"), finished(done), httpx.Response(200, content=PICTURE)]

    result = ganserve("evaluate", "portraits", "--metrics", "fid,ppl", "--count", "100", "--path", "z-end")

    assert result.exit_code == 0, result.output
    body = json.loads(service.requests[0].content)
    assert (body["kind"], body["model"]) == ("evaluate", "portraits")
    assert body["input"]["metrics"] == ["fid", "ppl"] and body["input"]["reference"] == "world"
    assert body["input"]["path"] == {"space": "z", "sampling": "end"}
    assert (tmp_path / "out" / "0.png").read_bytes() == PICTURE
    for text in ("against 100 renders", "0.0512", "11.5", "hat", "turned head: 0.8"):
        assert text in result.stdout


def test_evaluate_compares_with_uploaded_pictures_or_an_earlier_job(ganserve, service, tmp_path):
    pictures = [tmp_path / f"{i}.png" for i in range(16)]
    for i, path in enumerate(pictures):
        path.write_bytes(b"png")
        image = {
            "id": f"img_{i:064x}", "width": 64, "height": 64, "media_type": "image/png", "size_bytes": 3,
            "sha256": "0" * 64, "created_at": "", "url": "",
        }  # fmt: skip
        service.replies.append(httpx.Response(201, json=image))
    service.replies += [queued(kind="evaluate")] * 2
    chosen = [argument for path in pictures for argument in ("--image", str(path))]

    assert ganserve("evaluate", "faces", *chosen, "--no-wait").exit_code == 0
    assert ganserve("evaluate", "faces", "--job", JOB_ID, "--no-wait").exit_code == 0
    assert ganserve("evaluate", "faces", "--job", JOB_ID, "--image", str(pictures[0])).exit_code == 2
    sent = [json.loads(request.content)["input"]["reference"] for request in service.requests[-2:]]
    assert sent == [{"images": [f"img_{i:064x}" for i in range(16)]}, {"job": JOB_ID}]


def test_jobs_are_listed_with_the_filters_given(ganserve, service):
    service.replies = [httpx.Response(200, json={"data": [view()], "next_cursor": None})]

    result = ganserve("jobs", "list", "--status", "failed", "--status", "canceled", "--limit", "5")

    assert JOB_ID in result.stdout
    assert service.requests[0].url.params.multi_items() == [
        ("status", "failed"), ("status", "canceled"), ("limit", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "method", "path"),
    [
        ("cancel", "POST", f"/v1/jobs/{JOB_ID}/cancel"),
        ("retry", "POST", f"/v1/jobs/{JOB_ID}/retry"),
        ("get", "GET", f"/v1/jobs/{JOB_ID}"),
        ("delete", "DELETE", f"/v1/jobs/{JOB_ID}"),
    ],
)
def test_each_job_command_calls_its_route(ganserve, service, command, method, path):
    service.replies = [httpx.Response(204) if command == "delete" else httpx.Response(200, json=view())]

    assert ganserve("jobs", command, JOB_ID).exit_code == 0
    assert (service.requests[0].method, service.requests[0].url.path) == (method, path)


def test_discover_sends_the_fields_of_its_method(ganserve, service):
    service.replies = [queued(kind="discover"), queued(kind="discover")]
    fields = ("attributes=smile,glasses", "steps=50", "psi=0.5", "layers=3", "class=7")
    assert ganserve("discover", "styleflow", "mine", *fields, "-m", "faces", "--no-wait").exit_code == 0
    assert ganserve("discover", "sefa", "b", "--timeout", "900", "--no-wait").exit_code == 0
    first, second = (json.loads(request.content) for request in service.requests)
    assert (first["kind"], first["model"], second["timeout_s"]) == ("discover", "faces", 900)
    assert first["input"] == {
        "method": "styleflow",
        "name": "mine",
        "attributes": ["smile", "glasses"],
        "steps": 50,
        "psi": 0.5,
        "layers": "3",
        "class": 7,
    }


def test_discover_says_what_is_wrong_before_anything_is_sent(ganserve, service):
    for words in (("magic", "a"), ("sefa", "a", "count"), ("sefa", "a", "count=many"), ("sefa", "a", "x=1")):
        assert ganserve("discover", *words).exit_code == 2, words
    assert service.requests == []


def test_models_and_directions_are_tables_or_json(ganserve, service):
    cards = {"data": [{"name": "portraits", "family": "stylegan2", "resolution": 64, "spaces": ["z", "w"]}]}
    moves = {"data": [{"name": "sefa-00", "space": "w", "layers": "0-3", "unit": "sigma", "method": "sefa"}]}
    service.replies = [httpx.Response(200, json=body) for body in (cards, moves, moves)]

    assert "portraits" in ganserve("models", "list").stdout
    assert "sigma" in ganserve("models", "directions", "portraits").stdout
    assert json.loads(ganserve("models", "directions", "portraits", "--json").stdout) == moves["data"]


def test_directions_are_listed_brought_and_removed(ganserve, service, tmp_path):
    listed = {"data": [{"set": "mine", "name": "mine_0", "space": "w", "range": [-2, 3]}]}
    service.replies = [httpx.Response(200, json=listed)] * 2
    assert "-2 3" in ganserve("directions", "list", "--model", "faces").stdout
    assert json.loads(ganserve("directions", "list", "-m", "faces", "--json").stdout) == listed["data"]

    (tmp_path / "pose.npy").write_bytes(b"\x93NUMPY")
    service.replies = [queued(kind="discover"), finished(view()), httpx.Response(204)]
    said = ("--model", "faces", "--name", "pose", "--space", "w+", "--licence", "MIT")
    assert ganserve("directions", "import", "pose.npy", *said).exit_code == 0
    assert ganserve("directions", "delete", "pose", "--model", "faces").exit_code == 0
    brought, removed = service.requests[2], service.requests[-1]
    assert (brought.method, brought.url.path) == ("POST", "/v1/models/faces/directions")
    assert b"\x93NUMPY" in brought.content and b'name="set"' in brought.content and b"w+" in brought.content
    assert (removed.method, removed.url.path) == ("DELETE", "/v1/models/faces/directions/pose")


def test_a_file_of_directions_that_is_refused_ends_with_exit_code_1(ganserve, service, tmp_path):
    (tmp_path / "pose.npy").write_bytes(b"\x93NUMPY")
    error = {"code": "wrong_shapes", "detail": "…"}
    service.replies = [queued(), finished(view(status="failed", error=error))]
    assert ganserve("directions", "import", "pose.npy", "--name", "pose").exit_code == 1


def test_the_address_comes_from_the_environment(ganserve, service, monkeypatch):
    monkeypatch.setenv("GANSERVE_PUBLIC_URL", "http://elsewhere.test:9")
    service.replies = [httpx.Response(200, json=view())]

    ganserve("jobs", "get", JOB_ID)

    assert service.requests[0].url.host == "elsewhere.test"


def test_dataset_says_shares_variants_and_ranges(ganserve, service):
    service.replies = [queued(kind="dataset")]
    words = "--count 100 --share moved:0.25:smile=2,age=-1"
    words += " --require old:0.5:glasses=yes,age=0.6..,hair_color=grey"
    words += " --flow wearing:0.1:looks:glasses=1,smile=0.5"
    words += " --variant smile:smile=1.5 --splits train=0.9,test=0.1 --format jpeg --latents w --no-wait"
    assert ganserve("dataset", *words.split()).exit_code == 0
    body = json.loads(service.requests[0].content)
    moved = [{"name": "smile", "strength": 2.0}, {"name": "age", "strength": -1.0}]
    required = {"glasses": True, "age": {"min": 0.6}, "hair_color": "grey"}
    assert body["input"]["mix"] == [
        {"name": "moved", "share": 0.25, "edits": moved},
        {"name": "old", "share": 0.5, "require": required},
        {"name": "wearing", "share": 0.1, "flow": {"name": "looks", "set": {"glasses": 1.0, "smile": 0.5}}},
    ]
    assert body["input"]["variants"] == [{"name": "smile", "edits": [{"name": "smile", "strength": 1.5}]}]
    assert body["input"]["splits"] == {"train": 0.9, "test": 0.1} and "psi" not in body["input"]
    for option, text in (("--share", "half"), ("--flow", "half:0.5:looks")):
        assert ganserve("dataset", "--count", "9", option, text).exit_code == 2


def test_a_dry_run_tells_and_orders_nothing(ganserve, service):
    told = {
        "kind": "dataset",
        "model": "portraits",
        "pictures": 2000,
        "samples": 1000,
        "shards": 2,
        "bytes": 5e6,
    }
    told |= {"device_s": 7.5, "price": 0.03, "measured": True, "refused": "Too many today."}
    service.replies = [httpx.Response(200, json=told)]
    result = ganserve("dataset", "--count", "1000", "--dry-run")
    assert result.exit_code == 0 and service.requests[0].url.path == "/v1/estimates"
    for words in ("2,000 pictures in 2 shards", "5 MB", "8 device seconds", "0.03", "Too many today."):
        assert words in result.output


def test_batch_sends_the_file_and_downloads_what_came_of_it(ganserve, service, tmp_path):
    lines = b'{"custom_id": "a", "body": {"kind": "generate", "model": "portraits"}}\n'
    (tmp_path / "jobs.jsonl").write_bytes(lines)
    service.replies = [queued(kind="batch"), finished(view()), httpx.Response(200, content=PICTURE)]
    assert ganserve("batch", "jobs.jsonl").exit_code == 0
    assert service.requests[0].content == lines
    assert service.requests[0].headers["content-type"] == "application/jsonl"


def test_a_dataset_is_paused_resumed_and_extended(ganserve, service):
    service.replies = [httpx.Response(200, json=view(kind="dataset")) for _ in range(3)]
    for words in (("pause", JOB_ID), ("resume", JOB_ID), ("extend", JOB_ID, "50000")):
        assert ganserve("jobs", *words).exit_code == 0
    paths = [request.url.path.rsplit("/", 1)[1] for request in service.requests]
    assert paths == ["pause", "resume", "extend"]
    assert json.loads(service.requests[2].content) == {"count": 50000}
