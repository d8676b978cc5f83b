"""Blocks that are recorded and launched as a whole, on a device that the tests bring along."""

import gc
import logging
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generative.backends.torch import PreparedBackend
from generative.families import GENERATORS
from tests import elsewhere
from tests.families import inputs_of, tiny
from workers.blocks import BARE, Kind, Op, Subject
from workers.engine import Engine
from workers.graphs import KEPT, WORTH, CudaRecorder, Graphs
from workers.metrics import REGISTRY
from workers.runtimes import Elsewhere, Runtime
from workers.work import painting

THERE = elsewhere.NAME


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("ganserve_engine_graphs_total", {"outcome": outcome}) or 0


class Scale(nn.Module):
    """x times a weight; counts how often Python is asked."""

    img_resolution = 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 2.0), requires_grad=False)
        self.asked = 0


def scaled(network: Scale, inputs: dict[str, Tensor]) -> Tensor:
    network.asked += 1
    return inputs["x"] * network.weight


def looks(network: Scale, inputs: dict[str, Tensor]) -> Tensor:
    return inputs["x"] * float(network.weight[0])


def brings(network: Scale, inputs: dict[str, Tensor]) -> Tensor:
    return inputs["x"] * torch.tensor([2.0, 3.0, 4.0], device=inputs["x"].device)


def remembers(network: Scale, inputs: dict[str, Tensor]) -> Tensor:
    network.asked += 1
    return inputs["x"] * network.weight + network.asked


def asked(network: Any, op: Op, inputs: dict[str, Tensor]) -> tuple[Kind, dict[str, Tensor]]:
    """A block there, and its kind."""
    return Kind.of(network, op, inputs), {name: t.to(THERE) for name, t in inputs.items()}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(THERE, max_batch=4, recorder=elsewhere.record) as engine:
        yield engine


@pytest.fixture
def network() -> Scale:
    return Scale().to(THERE)


@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_every_family_can_be_recorded_and_paints_the_same(family):
    generator = tiny(family).eval().requires_grad_(False).to(THERE)
    graphs, launched, recorded = Graphs(elsewhere.record), counted("launched"), counted("recorded")
    with torch.no_grad():
        for seed in range(WORTH + 2):
            kind, block = asked(generator, painting.Paint(), inputs_of(generator, 2, seed))
            painted = graphs.computed(kind, block)[BARE].cpu()
            assert torch.equal(painted, kind.computed(block)[BARE].cpu())
    assert counted("recorded") - recorded == 1
    assert counted("launched") - launched == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prepared_weights_are_recorded_and_stay_as_long_as_they_are_used(dtype):
    generator = tiny("stylegan2").eval().requires_grad_(False).to(THERE)
    runtime, op = Runtime(generator, PreparedBackend(generator, dtype)), Elsewhere(painting.Paint("const"))
    graphs, launched = Graphs(elsewhere.record), counted("launched")
    with torch.no_grad():
        for seed in range(WORTH + 2):
            ws = drawn(2, generator.num_ws, generator.w_dim, seed=seed)
            kind, block = asked(runtime, op, {"ws": ws})
            painted = graphs.computed(kind, block)[BARE].cpu()
            assert torch.equal(painted, kind.computed(block)[BARE].cpu())
            if seed == WORTH:
                runtime.close()  # as when the model leaves, and a job goes on with it
    assert counted("launched") - launched == 3


def test_jobs_get_what_they_would_without(engine, network):
    for seed in range(2 * WORTH):
        x = drawn(9, 3, seed=seed)  # blocks of 4, 4 and 1
        assert torch.equal(engine.forward(Subject(network), scaled, {"x": x}).result(), 2 * x)
    asked = network.asked
    for N in (4, 8, 9):
        x = drawn(N, 3, seed=N)
        assert torch.equal(engine.forward(Subject(network), scaled, {"x": x}).result(), 2 * x)
    assert network.asked == asked


@pytest.mark.parametrize("op", [looks, brings])
def test_what_cannot_be_recorded_runs_as_ever_and_is_said_once(engine, network, op, caplog):
    refused, launched = counted("refused"), counted("launched")
    expected = torch.tensor([2.0, 3.0, 4.0]) if op is brings else 2.0
    with caplog.at_level(logging.WARNING, "workers.graphs"):
        for seed in range(2 * WORTH):
            x = drawn(4, 3, seed=seed)
            assert torch.equal(engine.forward(Subject(network), op, {"x": x}).result(), x * expected)
    assert (counted("refused") - refused, counted("launched") - launched) == (1, 0)
    assert caplog.text.count("cannot be recorded") == 1


def test_an_op_that_has_memory_enough_runs_where_its_recording_has_not(network):
    def full(run):
        run()
        raise torch.OutOfMemoryError

    x = drawn(8, 3)
    with Engine(THERE, max_batch=4, recorder=full) as engine:
        for _ in range(2 * WORTH):
            assert torch.equal(engine.forward(Subject(network), scaled, {"x": x}).result(), 2 * x)


def test_a_recording_that_differs_is_not_used(network):
    graphs, launched, differs = Graphs(elsewhere.record), counted("launched"), counted("differs")
    for _ in range(2 * WORTH):
        graphs.computed(*asked(network, remembers, {"x": drawn(4, 3)}))
    assert (counted("differs") - differs, counted("launched") - launched) == (1, 0)


def test_out_of_memory_gives_all_recordings_back_and_goes_on_with_smaller_blocks(engine, network):
    graphs, full = engine._graphs, []

    def tight(network: Scale, inputs: dict[str, Tensor]) -> Tensor:
        if full and len(inputs["x"]) == 4:
            raise torch.OutOfMemoryError
        return inputs["x"] * network.weight

    for seed in range(WORTH):
        engine.forward(Subject(network), scaled, {"x": drawn(4, 3, seed=seed)}).result()
    engine.forward(Subject(network), tight, {"x": drawn(4, 3)}).result()
    assert any(entry.recording for known in graphs._known.values() for entry in known.values())
    full.append(True)
    x = drawn(4, 3, seed=9)
    assert torch.equal(engine.forward(Subject(network), tight, {"x": x}).result(), 2 * x)
    assert all(entry.recording is None for known in graphs._known.values() for entry in known.values())


def test_recordings_leave_with_their_network_and_the_one_used_longest_ago_before():
    graphs, network = Graphs(elsewhere.record), Scale().to(THERE)
    for N in range(1, KEPT + 3):
        for _ in range(WORTH):
            graphs.computed(*asked(network, scaled, {"x": drawn(N, 3)}))
    [known] = graphs._known.values()
    assert [N for _, _, N in known] == list(range(3, KEPT + 3))
    gone = weakref.ref(network)
    del network, known
    gc.collect()
    assert gone() is None
    assert not len(graphs._known)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", sorted(GENERATORS))
def test_cuda_records_every_family(family):
    generator = tiny(family).eval().requires_grad_(False).cuda()
    subject, launched = Subject(generator), counted("launched")
    with Engine("cuda", max_batch=4) as plain, Engine("cuda", max_batch=4, recorder=CudaRecorder()) as engine:
        for seed in range(2 * WORTH):
            inputs = inputs_of(generator, 4, seed)
            found, expected = (e.forward(subject, painting.Paint(), inputs).result() for e in (engine, plain))
            assert torch.equal(found, expected)
    assert counted("launched") > launched
