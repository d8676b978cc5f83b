"""The engine with real (random) generators, and with programs whose answer is known."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from generative.batch import Tensors
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from tests.workers.meeting import Meeting
from workers.engine import Engine, EngineClosed, EngineOutOfMemory, Tick

LONG = 30  # seconds after which something is stuck


def stylegan2(resolution: int = 16, width: int = 16, **changes: int) -> SimpleNamespace:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        img_resolution=resolution, z_dim=width, w_dim=width, mapping_layers=2, channel_max=width, **changes
    )
    generator = Generator(config).eval().requires_grad_(False)
    for name, p in generator.named_parameters():
        if name.endswith("noise_strength"):
            p.fill_(0.1)
    return SimpleNamespace(generator=generator)


def z_to_picture(generator: Generator, inputs: Tensors) -> dict[str, Tensor]:
    ws = generator.map(inputs["z"])[:, None].expand(-1, generator.num_ws, -1)
    return {"ws": ws, "image": generator.synthesize(ws)}


def seeded(seed: int, width: int = 16) -> Tensor:
    return torch.randn(1, width, generator=torch.Generator().manual_seed(seed))


class Toy(nn.Module):
    """A generator of one pixel: the sum of its input."""

    img_resolution = 64  # so that blocks have 16 rows

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1)


def total(generator: Toy, inputs: Tensors) -> Tensor:
    return generator(inputs["x"])


@pytest.fixture
def ticks() -> list[Tick]:
    return []


@pytest.fixture
def engine(ticks: list[Tick]) -> Iterator[Engine]:
    with Engine("cpu", max_batch=32, crew=1, observe=ticks.append) as engine:
        yield engine


class Gate:
    """An op that keeps the engine's thread until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, generator: nn.Module, inputs: Tensors) -> Tensor:
        self.entered.set()
        assert self.opened.wait(LONG)
        return inputs["x"]


@pytest.fixture
def gate(engine: Engine) -> Iterator[Gate]:
    """The engine is kept busy until the gate opens, so that a test can line up work."""
    gate = Gate()
    engine.forward(SimpleNamespace(generator=Toy()), gate, {"x": torch.zeros(1, 1)})
    assert gate.entered.wait(LONG)
    yield gate
    gate.opened.set()


# --- side by side ----------------------------------------------------------------------------------------


class Side:
    """An op that notes in how many threads it runs at once, in which, and with how many cores in each."""

    def __init__(self) -> None:
        self.expect(0)

    def expect(self, threads: int) -> None:
        """From now on."""
        self.meeting, self.cores, self.threads = Meeting(threads), set(), set()

    def __call__(self, generator: nn.Module, inputs: Tensors) -> Tensor:
        with self.meeting.join():
            self.cores.add(torch.get_num_threads())
            self.threads.add(threading.current_thread().name)
        return inputs["x"].sum(dim=1)

    __hash__ = object.__hash__


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16, 48, 100])
def test_blocks_are_computed_side_by_side_on_a_core_each(rows: int, ticks: list[Tick]) -> None:
    model, op, x = SimpleNamespace(generator=Toy()), Side(), torch.arange(2.0 * rows).reshape(rows, 2)
    with Engine("cpu", crew=3, observe=ticks.append) as engine:
        engine.forward(model, op, {"x": torch.zeros(1, 2)}).result(LONG)  # tries out what it may
        op.expect(min(rows, 3))
        assert torch.equal(engine.forward(model, op, {"x": x}).result(LONG), x.sum(dim=1))
        assert engine.drain(LONG)
    assert op.meeting.most == min(rows, 3) and op.cores == {1}
    assert sum(t.rows for t in ticks[1:]) == rows and max(t.rows for t in ticks) <= 48


@pytest.mark.parametrize(("rows", "most"), [(2, 1), (5, 1), (6, 6), (48, 16)])
def test_few_blocks_for_many_cores_have_all_of_them_in_turn(rows: int, most: int) -> None:
    model, op = SimpleNamespace(generator=Toy()), Side()
    with Engine("cpu", crew=16) as engine:
        engine.forward(model, op, {"x": torch.zeros(1, 2)}).result(LONG)
        op.expect(most)
        engine.forward(model, op, {"x": torch.zeros(rows, 2)}).result(LONG)
    assert op.meeting.most == most and (op.threads == {"engine"}) is (most == 1)


@pytest.mark.parametrize(
    ("side", "crew_s", "others_s", "crew_does_it"),
    [
        (64, 0.0, 0.02, True),
        (64, 0.02, 0.0, False),
        (256, 0.0, 0.02, False),
    ],
)
def test_a_small_block_that_is_alone_has_one_core_where_all_are_hardly_faster(
    side: int, crew_s: float, others_s: float, crew_does_it: bool
) -> None:
    threads: list[str] = []

    def op(generator: nn.Module, inputs: Tensors) -> Tensor:
        threads.append(threading.current_thread().name)
        time.sleep(crew_s if threads[-1].startswith("crew") else others_s)
        return inputs["x"].sum(dim=1)

    model = SimpleNamespace(generator=Toy())
    model.generator.img_resolution = side
    with Engine("cpu", crew=2) as engine:
        for _ in range(2):
            engine.forward(model, op, {"x": torch.zeros(1, 2)}).result(LONG)
    assert threads[-1].startswith("crew") is crew_does_it


def one_core_differs(generator: Toy, inputs: Tensors) -> Tensor:
    """A network that sums up in another order where it has one core."""
    return inputs["x"].sum(dim=1) + threading.current_thread().name.startswith("crew") * 1e-6


def test_a_crew_is_spared_what_it_would_make_otherwise(ticks: list[Tick]) -> None:
    with Engine("cpu", crew=3, observe=ticks.append) as engine:
        answer = engine.forward(SimpleNamespace(generator=Toy()), one_core_differs, {"x": torch.ones(48, 3)})
        assert torch.equal(answer.result(LONG), torch.full((48,), 3.0))
        assert engine.drain(LONG)
    assert [t.rows for t in ticks] == [16, 16, 16]


def test_small_blocks_that_a_crew_would_make_otherwise_are_not_used(ticks: list[Tick]) -> None:
    def few_differ(generator: Toy, inputs: Tensors) -> Tensor:
        return one_core_differs(generator, inputs) if len(inputs["x"]) < 8 else total(generator, inputs)

    with Engine("cpu", crew=2, observe=ticks.append) as engine:
        model = SimpleNamespace(generator=Toy())
        for rows in (1, 9, 9):
            answer = engine.forward(model, few_differ, {"x": torch.ones(rows, 3)})
            assert torch.equal(answer.result(LONG), torch.full((rows,), 3.0))
        assert engine.drain(LONG)
    assert [t.size for t in ticks] == [8, 16, 16]


def test_pictures_that_fill_a_block_alone_are_computed_side_by_side_and_very_large_ones_are_not() -> None:
    for side, most in ((256, 3), (512, 1)):
        model, op = SimpleNamespace(generator=Toy()), Side()
        model.generator.img_resolution = side
        with Engine("cpu", crew=3) as engine:
            engine.forward(model, op, {"x": torch.zeros(1, 2)}).result(LONG)
            op.expect(most)
            engine.forward(model, op, {"x": torch.zeros(6, 2)}).result(LONG)
        assert op.meeting.most == most and (op.threads == {"engine"}) is (most == 1)


def test_what_a_crew_raises_fails_the_request_and_the_engine_goes_on() -> None:
    def negative_fails(generator: Toy, inputs: Tensors) -> Tensor:
        if (inputs["x"] == -1).any():
            raise ArithmeticError("no picture today")
        return total(generator, inputs)

    x = torch.ones(48, 3)
    with Engine("cpu", crew=3) as engine:
        model = SimpleNamespace(generator=Toy())
        engine.forward(model, negative_fails, {"x": x}).result(LONG)
        with pytest.raises(ArithmeticError, match="no picture today"):
            engine.forward(model, negative_fails, {"x": torch.cat([x[:-1], -x[:1]])}).result(LONG)
        assert engine.forward(model, negative_fails, {"x": x}).result(LONG).tolist() == [3] * 48


def test_memory_that_runs_out_ends_the_work_side_by_side() -> None:
    model, op, x = SimpleNamespace(generator=Toy()), Roomy(16), torch.arange(48.0)[:, None]
    with Engine("cpu", crew=3) as engine:
        engine.forward(model, op, {"x": x}).result(LONG)
        op.rows = 8
        assert torch.equal(engine.forward(model, op, {"x": x}).result(LONG), x)


def test_a_crew_leaves_the_cores_of_other_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Engine("cpu") as engine:
            x = {"x": torch.zeros(1, 2)}
            seen = engine.forward(SimpleNamespace(generator=Toy()), cores, x).result(LONG)
        assert torch.get_num_threads() == 2 and seen.tolist() == [2]
    finally:
        torch.set_num_threads(before)


def cores(generator: Toy, inputs: Tensors) -> Tensor:
    """How many there are for the thread that computes."""
    return inputs["x"].new_full((len(inputs["x"]),), torch.get_num_threads(), dtype=torch.int64)


# --- pictures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [stylegan2(), stylegan2(32, 11), stylegan2(64, 24, channel_base=512)])
def test_a_picture_has_the_same_bits_in_any_company_and_from_any_crew(model: SimpleNamespace) -> None:
    seeds = list(range(40))
    with Engine("cpu", crew=1) as engine:
        alone = [engine.forward(model, z_to_picture, {"z": seeded(s, model.generator.z_dim)}) for s in seeds]
        expected = [a.result(LONG) for a in alone]
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(1)).tolist()
    with Engine("cpu", crew=3) as engine:
        for at, size in ((0, 1), (1, 2), (3, 3), (6, 16), (22, 18)):
            some = shuffled[at : at + size]
            z = torch.cat([seeded(s, model.generator.z_dim) for s in some])
            together = engine.forward(model, z_to_picture, {"z": z}).result(LONG)
            for row, seed in enumerate(some):
                assert torch.equal(together["image"][row], expected[seed]["image"][0]), (
                    f"seed {seed} of {size}"
                )
                assert torch.equal(together["ws"][row], expected[seed]["ws"][0])


def test_results_are_those_of_the_op_itself(engine: Engine) -> None:
    model, z = stylegan2(), torch.cat([seeded(s) for s in range(5)])
    result = engine.forward(model, z_to_picture, {"z": z}).result(LONG)
    expected = z_to_picture(model.generator, {"z": z})
    torch.testing.assert_close(result["image"], expected["image"], rtol=0, atol=1e-5)


def test_an_op_that_returns_a_tensor_answers_with_a_tensor_of_any_length(engine: Engine) -> None:
    x = torch.arange(200.0).reshape(100, 2)
    answer = engine.forward(SimpleNamespace(generator=Toy()), total, {"x": x})
    assert torch.equal(answer.result(LONG), x.sum(dim=1))
    assert answer.device_s > 0


def test_rows_of_concurrent_jobs_share_a_block(engine: Engine, gate: Gate, ticks: list[Tick]) -> None:
    model = SimpleNamespace(generator=Toy())
    answers = [engine.forward(model, total, {"x": torch.full((2, 3), float(i))}) for i in range(8)]
    gate.opened.set()
    for i, answer in enumerate(answers):
        assert torch.equal(answer.result(LONG), torch.full((2,), 3.0 * i))
    assert [(t.rows, t.size) for t in ticks[1:]] == [(16, 16)]


def test_a_small_job_does_not_wait_behind_a_large_one(engine: Engine, gate: Gate) -> None:
    model, order = SimpleNamespace(generator=Toy()), []
    large = engine.forward(model, total, {"x": torch.zeros(1024, 3)})
    small = engine.forward(model, total, {"x": torch.zeros(1, 3)})
    large.add_done_callback(lambda _: order.append("large"))
    small.add_done_callback(lambda _: order.append("small"))
    gate.opened.set()
    large.result(LONG)
    small.result(LONG)
    assert order == ["small", "large"]


def test_different_models_ops_and_shapes_are_kept_apart(
    engine: Engine, gate: Gate, ticks: list[Tick]
) -> None:
    one, other = SimpleNamespace(generator=Toy()), SimpleNamespace(generator=Toy())
    answers = [
        engine.forward(one, total, {"x": torch.ones(1, 3)}),
        engine.forward(other, total, {"x": torch.ones(1, 3)}),
        engine.forward(one, doubled, {"x": torch.ones(1, 3)}),
        engine.forward(one, total, {"x": torch.ones(1, 5)}),
    ]
    gate.opened.set()
    assert [a.result(LONG).item() for a in answers] == [3, 3, 6, 5]
    assert len(ticks) == 5


def doubled(generator: Toy, inputs: Tensors) -> Tensor:
    return 2 * generator(inputs["x"])


def fails(generator: Toy, inputs: Tensors) -> Tensor:
    raise ArithmeticError("no picture today")


def test_an_op_that_raises_fails_its_own_requests_only(engine: Engine, gate: Gate) -> None:
    model = SimpleNamespace(generator=Toy())
    bad = engine.forward(model, fails, {"x": torch.zeros(40, 3)})
    good = engine.forward(model, total, {"x": torch.ones(2, 3)})
    gate.opened.set()
    with pytest.raises(ArithmeticError, match="no picture today"):
        bad.result(LONG)
    assert good.result(LONG).tolist() == [3, 3]


def sums_it_all_up(generator: Toy, inputs: Tensors) -> Tensor:
    return inputs["x"].sum()


def test_an_op_that_mixes_rows_up_is_refused(engine: Engine) -> None:
    answer = engine.forward(SimpleNamespace(generator=Toy()), sums_it_all_up, {"x": torch.ones(2, 3)})
    with pytest.raises(ValueError, match="as many rows"):
        answer.result(LONG)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_engine_itself_leaves_nobody_waiting_and_shows() -> None:
    def broken(tick: Tick) -> None:
        raise RuntimeError("not the job's fault")

    engine, model = Engine("cpu", observe=broken), SimpleNamespace(generator=Toy())
    engine.forward(model, total, {"x": torch.ones(1, 3)}).result(LONG)
    with pytest.raises(EngineClosed):
        while True:
            engine.forward(model, total, {"x": torch.ones(1, 3)}).result(LONG)
    assert engine.busy
    engine.close()


def test_a_cancelled_request_is_skipped(engine: Engine, gate: Gate, ticks: list[Tick]) -> None:
    answer = engine.forward(SimpleNamespace(generator=Toy()), total, {"x": torch.zeros(40, 3)})
    assert answer.cancel()
    gate.opened.set()
    assert engine.drain(LONG)
    assert len(ticks) == 1


def test_inputs_without_rows_or_of_unequal_length_are_refused(engine: Engine) -> None:
    model = SimpleNamespace(generator=Toy())
    with pytest.raises(ValueError, match="number of rows"):
        engine.forward(model, total, {"x": torch.zeros(0, 3)})
    with pytest.raises(ValueError, match="number of rows"):
        engine.forward(model, total, {"x": torch.zeros(2, 3), "y": torch.zeros(3, 3)})


def place_matters(generator: Toy, inputs: Tensors) -> Tensor:
    """A network whose last rows are summed in another order."""
    row = torch.arange(len(inputs["x"]))
    return inputs["x"].sum(dim=1) + (row >= 3) * 1e-6


def test_an_op_that_is_not_the_same_in_every_place_of_a_block_runs_in_smaller_ones(
    engine: Engine, ticks: list[Tick]
) -> None:
    answer = engine.forward(SimpleNamespace(generator=Toy()), place_matters, {"x": torch.ones(12, 3)})
    assert torch.equal(answer.result(LONG), torch.full((12,), 3.0))
    engine.forward(SimpleNamespace(generator=Toy()), place_matters, {"x": torch.ones(1, 3)}).result(LONG)
    assert engine.drain(LONG)
    assert [t.size for t in ticks] == [12, 1]  # six blocks of two rows, then one of one


def few_rows_differ(generator: Toy, inputs: Tensors) -> Tensor:
    """A network that sums up in another order where there are fewer than four rows."""
    return inputs["x"].sum(dim=1) + (len(inputs["x"]) < 4) * 1e-6


def test_a_few_rows_take_small_blocks_that_have_the_bits_of_the_largest(
    engine: Engine, ticks: list[Tick]
) -> None:
    model = SimpleNamespace(generator=Toy())
    for rows in (1, 5, 9, 14, 21):
        answer = engine.forward(model, few_rows_differ, {"x": torch.ones(rows, 3)})
        assert torch.equal(answer.result(LONG), torch.full((rows,), 3.0))
    assert engine.drain(LONG)
    assert [(t.rows, t.size) for t in ticks] == [(1, 4), (5, 8), (9, 12), (14, 16), (16, 16), (5, 8)]


def few_rows_differ_before_rounding(generator: Toy, inputs: Tensors) -> Tensor:
    """As above, but what is given is bytes, which hardly ever show it."""
    return (few_rows_differ(generator, inputs) + 40).clamp(0, 255).to(torch.uint8)


def bytes_alone(generator: Toy, inputs: Tensors) -> Tensor:
    return torch.from_numpy(inputs["x"].numpy().astype("uint8"))


@pytest.mark.parametrize(
    ("op", "sizes"), [(few_rows_differ_before_rounding, [4, 8]), (bytes_alone, [16, 16])]
)
def test_pictures_are_compared_as_they_are_before_they_become_bytes(
    engine: Engine, ticks: list[Tick], op: Callable[..., Tensor], sizes: list[int]
) -> None:
    model = SimpleNamespace(generator=Toy())
    for rows in (1, 5):
        engine.forward(model, op, {"x": torch.ones(rows, 3)}).result(LONG)
    assert engine.drain(LONG)
    assert [t.size for t in ticks] == sizes


@dataclass
class Roomy:
    """An op that has memory for so many rows."""

    rows: int

    def __call__(self, generator: nn.Module, inputs: Tensors) -> Tensor:
        if len(inputs["x"]) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inputs["x"]

    __hash__ = object.__hash__


def test_a_block_that_does_not_fit_into_memory_is_halved(engine: Engine, ticks: list[Tick]) -> None:
    x = torch.arange(32.0)[:, None]
    answer = engine.forward(SimpleNamespace(generator=Toy()), Roomy(4), {"x": x})
    assert torch.equal(answer.result(LONG), x)


def test_memory_that_runs_out_later_halves_the_block_once(engine: Engine) -> None:
    model, op, x = SimpleNamespace(generator=Toy()), Roomy(16), torch.arange(16.0)[:, None]
    engine.forward(model, op, {"x": x}).result(LONG)
    op.rows = 8
    assert torch.equal(engine.forward(model, op, {"x": x}).result(LONG), x)
    op.rows = 2
    with pytest.raises(EngineOutOfMemory) as error:
        engine.forward(model, op, {"x": x}).result(LONG)
    assert error.value.code == "out_of_memory"
