"""Jobs whose pictures a backend paints: the same pictures, and torch when the backend is away."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from generative.backend import BackendError
from generative.backends.torch import TorchBackend
from generative.store import load_model
from jobs.settings import Settings
from jobs.store import JobRow
from tests.workers.given import TENANT, pixels_of
from workers.blocks import Subject
from workers.context import Context
from workers.engine import Engine
from workers.metrics import BACKEND_BLOCKS, BACKEND_FALLBACKS
from workers.models import Models
from workers.runner import run_job
from workers.runtimes import PAUSE_S, Elsewhere, Place, Runtime, fastest, is_plain, open_runtime
from workers.work import painting
from workers.work.generate import generate

LONG = 30  # seconds


class Stub(TorchBackend):
    """Torch, that can be told to fail; notes what it is asked."""

    name = "onnx"

    def __init__(self, generator: object) -> None:
        super().__init__(generator)
        self.error: Exception | None = None
        self.rows: list[int] = []
        self.unloaded = 0

    def paint(self, codes, noise, noises, psi=1.0):
        self.rows.append(len(next(iter(codes.values()))))
        if self.error is not None:
            raise self.error
        return super().paint(codes, noise, noises, psi)

    def unload(self) -> None:
        self.unloaded += 1


@pytest.fixture
def exported(model_repo: Path, tmp_path: Path) -> Path:
    """A repository whose model has an export that was measured to be faster than torch."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: the extra `runtimes`")
    from generative.export import __main__ as command
    from generative.export.record import read_record, write_record

    repo = tmp_path / "exported"
    shutil.copytree(model_repo, repo)
    assert command.main(["tiny", "--to", "onnx", "--repo", str(repo)]) == 0
    record = read_record(repo / "tiny" / "onnx")
    write_record(
        repo / "tiny" / "onnx", record.model_copy(update={"pictures_per_s": {"torch": 1, "onnx": 2}})
    )
    return repo


@pytest.fixture
def stub(model_repo: Path) -> Stub:
    return Stub(load_model(model_repo / "tiny")[0])


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=0.0)


@pytest.fixture
def runtime(stub: Stub, clock: SimpleNamespace) -> Runtime:
    return Runtime(stub._generator, stub, lambda: clock.now)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine("cpu") as engine:
        yield engine


def ws(runtime: Runtime, N: int, seed: int = 0) -> Tensor:
    g = runtime.generator
    return torch.randn(N, g.num_ws, g.w_dim, generator=torch.Generator().manual_seed(seed))


def fallbacks(reason: str) -> float:
    return BACKEND_FALLBACKS.labels("onnx", reason)._value.get()


def test_a_job_is_painted_by_the_fastest_backend_and_looks_the_same(
    context: Context,
    configured: Settings,
    exported: Path,
    submit: Callable[..., JobRow],
    finished: Callable[[JobRow], JobRow],
    read: Callable[[JobRow, str], bytes],
) -> None:
    there = configured.model_copy(update={"model_repo": exported})
    elsewhere = replace(context, models=Models(there, context.store, context.blobs))
    assert elsewhere.models.get(TENANT, "tiny").runtime is not None
    pictures, before = [], BACKEND_BLOCKS.labels("onnx")._value.get()
    for where in (context, elsewhere):
        row = submit(input={"source": {"seeds": [1, 2]}})
        run_job(row.id, generate, where)
        row = finished(row)
        names = [output.name for output in row.outputs if output.role == "image"]
        pictures.append([pixels_of(read(row, name)).astype(int) for name in names])
    assert BACKEND_BLOCKS.labels("onnx")._value.get() > before
    assert max(abs(a - b).max() for a, b in zip(*pictures, strict=True)) <= 1


def test_rows_of_many_requests_share_a_block_on_a_backend(engine: Engine, runtime: Runtime) -> None:
    op, stub = Elsewhere(painting.Paint("const")), runtime.backend
    engine.forward(Subject(runtime), op, {"ws": ws(runtime, 1)}).result(LONG)  # its test of places is over
    stub.rows.clear()
    with engine._changed:  # so that all wait before the first is taken
        answers = [engine.forward(Subject(runtime), op, {"ws": ws(runtime, 1, seed)}) for seed in range(8)]
    for seed, answer in enumerate(answers):
        exact = stub.paint({"ws": ws(runtime, 1, seed)}, "const", {})
        assert int((answer.result(LONG).int() - exact.int()).abs().max()) <= 1
    assert max(stub.rows) > 1


def test_a_request_that_is_cancelled_is_not_painted_to_its_end(engine: Engine, runtime: Runtime) -> None:
    op, stub = Elsewhere(painting.Paint("const")), runtime.backend
    engine.forward(Subject(runtime), op, {"ws": ws(runtime, 1)}).result(LONG)
    stub.rows.clear()
    answer = engine.forward(Subject(runtime), op, {"ws": ws(runtime, 4096)})
    answer.cancel()
    engine.forward(Subject(runtime), op, {"ws": ws(runtime, 1)}).result(LONG)
    assert sum(stub.rows) < 4096


def test_while_a_backend_is_away_torch_paints_and_it_is_counted(
    runtime: Runtime, stub: Stub, clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    op, inputs = painting.Paint("const"), {"ws": ws(runtime, 2)}
    exact, counts = op(runtime.generator, inputs), {r: fallbacks(r) for r in ("error", "paused")}
    stub.error = BackendError("the server is gone")
    for _ in range(3):
        assert torch.equal(runtime.run(op, inputs), exact)
    assert stub.rows == [2]  # asked once, then left alone
    assert (fallbacks("error"), fallbacks("paused")) == (counts["error"] + 1, counts["paused"] + 2)
    assert [r.message for r in caplog.records] == [
        "the backend onnx failed, torch takes over: the server is gone"
    ]
    stub.error, clock.now = None, PAUSE_S
    runtime.run(op, inputs)
    assert stub.rows == [2, 2]


def test_a_mistake_is_not_hidden_by_falling_back(runtime: Runtime, stub: Stub) -> None:
    stub.error = ValueError("ws must be (N, 6, 16)")
    with pytest.raises(ValueError):
        runtime.run(painting.Paint("const"), {"ws": ws(runtime, 2)})


def test_out_of_memory_unloads_the_backend_and_halves_the_block(
    engine: Engine, runtime: Runtime, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = stub.paint

    def roomy(codes, noise, noises, psi=1.0):
        if len(codes["ws"]) > 4:
            raise MemoryError("Failed to allocate memory")
        return inner(codes, noise, noises, psi)

    monkeypatch.setattr(stub, "paint", roomy)
    answer = engine.forward(Subject(runtime), Elsewhere(painting.Paint("const")), {"ws": ws(runtime, 9)})
    assert len(answer.result(LONG)) == 9
    assert stub.unloaded >= 1 and max(stub.rows) <= 4


def test_only_plain_paths_go_elsewhere() -> None:
    assert all(
        map(is_plain, (painting.map_z, painting.style_rows, painting.Paint(), painting.Paint("const")))
    )
    assert not any(map(is_plain, (painting.Paint(lod=1.0), lambda generator, inputs: None)))


def test_a_model_that_is_forgotten_gives_its_backends_memory_back(
    context: Context, configured: Settings, exported: Path
) -> None:
    shutil.copytree(exported / "tiny", exported / "other")
    there = configured.model_copy(update={"model_repo": exported})
    models = Models(there, context.store, context.blobs, capacity=1)
    first = models.get(TENANT, "tiny").runtime
    assert first is not None
    first.run(painting.Paint("const"), {"ws": ws(first, 1)})
    sessions = first.backend._runner._sessions
    assert sessions
    models.get(TENANT, "other")
    assert not sessions


def place(repo: Path, wanted: str, **given: object) -> Place:
    return Place(wanted, repo / "tiny", torch.device("cpu"), **given)


def test_the_fastest_is_what_the_export_measured(exported: Path) -> None:
    from generative.export.record import read_record, write_record

    assert fastest(place(exported, "auto")) == "onnx"
    folder = exported / "tiny" / "onnx"
    record = read_record(folder)
    write_record(folder, record.model_copy(update={"pictures_per_s": {"torch": 2, "onnx": 1}}))
    assert fastest(place(exported, "auto")) == "torch"
    (exported / "tiny" / "triton").mkdir()
    write_record(exported / "tiny" / "triton", record)
    assert fastest(place(exported, "auto")) == "torch"
    assert fastest(place(exported, "auto", triton_address="127.0.0.1:8001")) == "triton"


@pytest.mark.parametrize("wanted", ["onnx", "triton"])
def test_a_backend_that_a_model_lacks_is_said_and_counted(
    model_repo: Path, wanted: str, caplog: pytest.LogCaptureFixture
) -> None:
    generator, card = load_model(model_repo / "tiny")
    before = BACKEND_FALLBACKS.labels(wanted, "missing")._value.get()
    assert open_runtime(generator, card, place(model_repo, wanted)) is None
    assert BACKEND_FALLBACKS.labels(wanted, "missing")._value.get() == before + 1
    assert f"ganserve export tiny --to {wanted}" in caplog.text


def test_an_export_of_other_weights_is_not_used(exported: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator, card = load_model(exported / "tiny")
    other = card.model_copy(update={"sha256": "0" * 64})
    assert open_runtime(generator, other, place(exported, "onnx")) is None
    assert "of other weights" in caplog.text
