"""import: an upload through the converter in its limited child; hostile or huge files end there."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from client.packing import packed
from generative.cards import About
from generative.store import save_model
from jobs.blobs import upload_key
from jobs.errors import BadCheckpoint, JobFailed
from jobs.schemas import Status, request_adapter
from jobs.store import ModelRow
from tests.families import tiny
from tests.generative.checkpoints.test_alae import official as official_alae
from tests.workers.given import TENANT, pixels_of
from workers import converter
from workers.converter import GiB, Limits, run_limited
from workers.runner import run_job
from workers.work.generate import generate
from workers.work.import_model import import_model

SHA = "0" * 64
SMALL = Limits(memory_bytes=GiB, file_bytes=1024 * 1024, cpu_s=20, wall_s=20)


@pytest.fixture
def run(context, finished):
    """Quarantine a file and import it."""

    def ended(file: bytes, name: str = "mine"):
        key = upload_key(TENANT, SHA)
        context.blobs.write(key, file, media_type="application/octet-stream")
        body = {"kind": "import", "model": name, "input": {"upload": key, "sha256": SHA, "licence": "MIT"}}
        row = context.store.submit(TENANT, request_adapter.validate_json(json.dumps(body)))[0]
        run_job(row.id, import_model, context)
        return finished(row)

    return ended


@pytest.fixture
def checkpoint(model_repo: Path) -> bytes:
    return (model_repo / "tiny" / "weights.safetensors").read_bytes()


def test_an_imported_model_can_be_named_by_jobs_at_once(run, context, submit, finished, checkpoint):
    job = run(checkpoint)
    assert job.status is Status.SUCCEEDED and job.result["model"] == "mine"
    row = context.store.get_model(TENANT, "mine")
    assert row.sha256 == job.result["sha256"] and row.card["licence"] == "MIT"
    assert {d["name"] for d in row.card["directions"]} >= {"sefa_0"}
    assert pixels_of(context.blobs.read(f"{row.prefix}samples.png")).shape == (4 * 18 - 2, 4 * 18 - 2, 3)

    shas = []
    for model in ("mine", "tiny"):
        made = submit("generate", model=model)
        run_job(made.id, generate, context)
        shas.append(finished(made).outputs[0].about)
    assert shas[0] == shas[1]


def test_names_of_classes_come_with_the_checkpoint(run, context, submit, finished, tmp_path):
    save_model(tmp_path / "model", tiny("stylegan2"), About(name="made"))
    (tmp_path / "names").write_text("ant\nbee\ncow\n")
    with packed(tmp_path / "model" / "weights.safetensors", tmp_path / "names") as archive:
        assert run(archive.read_bytes()).status is Status.SUCCEEDED
    assert context.store.get_model(TENANT, "mine").card["class_names"] == ["ant", "bee", "cow"]
    made = submit("generate", model="mine", input={"class": "cow"})
    run_job(made.id, generate, context)
    assert finished(made).status is Status.SUCCEEDED

    (tmp_path / "names").write_text("ant\nbee\n")
    with packed(tmp_path / "model" / "weights.safetensors", tmp_path / "names") as archive:
        job = run(archive.read_bytes(), "other")
    assert (job.status, job.error.code) == (Status.FAILED, "bad_config")


def test_a_folder_of_files_is_one_model_with_its_encoder(run, context, tmp_path):
    folder = tmp_path / "alae"
    folder.mkdir()
    (folder / "last_checkpoint").write_text("training_artifacts/alae/model_final.pth")
    (folder / "alae.yaml").write_text("MODEL:\n  LAYER_COUNT: 3\n")
    torch.save(official_alae(), folder / "model_final.pth")
    with packed(folder) as archive:
        job = run(archive.read_bytes())
    assert job.status is Status.SUCCEEDED, job.error
    row = context.store.get_model(TENANT, "mine")
    assert (row.card["family"], row.card["encoder"]["network"]) == ("alae", "alae_encoder")
    assert row.card["provenance"]["format"] == "alae"
    assert context.blobs.exists(f"{row.prefix}encoder.safetensors")


def test_a_name_that_another_model_has_is_refused(run, checkpoint, context):
    other = ModelRow("mine", "1" * 64, "t/default/m/mine/other/", {})
    context.store.put_model(TENANT, other)
    job = run(checkpoint)
    assert (job.status, job.error.code) == (Status.FAILED, "name_taken")
    assert context.store.get_model(TENANT, "mine").sha256 == other.sha256


def test_a_file_that_is_no_checkpoint_fails_with_the_converters_code(run):
    job = run(b"GIF89a")
    assert (job.status, job.error.code) == (Status.FAILED, "unsupported_format")


def test_a_malicious_pickle_is_refused_and_never_runs(run, tmp_path):
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {canary}",)

    torch.save({"g_ema": Evil()}, tmp_path / "evil.pt")
    job = run((tmp_path / "evil.pt").read_bytes())
    assert (job.status, job.error.code) == (Status.FAILED, "unsafe_pickle")
    assert not canary.exists()


def python(code: str) -> list[str]:
    return [sys.executable, "-P", "-c", code]


def nothing() -> None:
    pass


def test_the_child_knows_nothing_of_the_worker(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSERVE_S3_SECRET_KEY", "secret")
    out = tmp_path / "environment"
    run_limited(
        python(f"import os; open({str(out)!r}, 'w').write(repr((dict(os.environ), os.listdir())))"),
        SMALL,
        nothing,
    )
    environment, files = eval(out.read_text())
    assert not [name for name in environment if name.startswith("GANSERVE")] and files == []


@pytest.mark.parametrize(
    "code",
    ["bytearray(4 * 1024**3)", "open('big', 'wb').write(bytes(2 * 1024**2))"],
)
def test_a_child_that_wants_too_much_is_too_large(code):
    with pytest.raises(BadCheckpoint) as error:
        run_limited(python(code), SMALL, nothing)
    assert error.value.code == "too_large"


def test_a_child_that_computes_for_ever_is_stopped_by_its_processor_time():
    with pytest.raises(BadCheckpoint) as error:
        run_limited(python("while True: pass"), Limits(GiB, 1024, cpu_s=1, wall_s=30), nothing)
    assert error.value.code == "too_large"


def test_a_child_that_sleeps_for_ever_is_stopped_by_the_clock():
    with pytest.raises(BadCheckpoint) as error:
        run_limited(python("import time; time.sleep(60)"), Limits(GiB, 1024, wall_s=0.5), nothing)
    assert error.value.code == "too_large"


def test_a_job_that_must_stop_kills_the_child_and_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    write_pid = f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))"
    grandchild = f"import os, time\nif not os.fork(): {write_pid}\ntime.sleep(60)"
    began = time.monotonic()

    def alive() -> None:
        if pid_file.exists() and pid_file.read_text():
            raise InterruptedError
        assert time.monotonic() - began < 20

    with pytest.raises(InterruptedError):
        run_limited(python(grandchild), SMALL, alive)
    pid = int(pid_file.read_text())
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the grandchild lives")


def test_a_converter_that_breaks_is_not_the_callers_fault():
    with pytest.raises(JobFailed) as error:
        run_limited(python("raise SystemExit(7)"), SMALL, nothing)
    assert error.value.code == "converter_failed"


def test_what_the_converter_says_of_a_refused_file_reaches_the_caller():
    said = json.dumps({"code": "truncated", "detail": "ends early"})
    code = f"import sys; print('noise', {said!r}, sep='\\n', file=sys.stderr); sys.exit({converter.REFUSED})"
    with pytest.raises(BadCheckpoint, match="ends early") as error:
        run_limited(python(code), SMALL, nothing)
    assert error.value.code == "truncated"
