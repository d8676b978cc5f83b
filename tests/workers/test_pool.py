"""Optimisation through the engine: shared steps of many jobs, against the plain loop as its slow twin."""

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from generative.batch import Tensors
from generative.inversion.codes import CodeBook
from generative.inversion.pti import PivotalTuning, TuningOptions
from generative.inversion.search import Search, SearchOptions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.program import Course, Evaluation, Outcome, run
from generative.spaces import Space, broadcast
from generative.statistics import sample_w, w_statistics
from tests.workers.meeting import Meeting
from workers.engine import BURST, Engine, EngineClosed, EngineOutOfMemory, Tick, Update

LONG = 30  # seconds after which something is stuck


class Valley:
    """Finds x (N, 3) that equals the target. Steps wait for `go`; `memory` is how many samples fit."""

    def __init__(self, key: Hashable = "valley", memory: int = 1000) -> None:
        self.key, self.memory = key, memory
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def constants(self, problems: Tensors) -> Tensors:
        return problems

    def begin(self, problems: Tensors) -> Tensors:
        return {"x": torch.zeros_like(problems["target"])}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        self.entered.set()
        assert self.go.wait(LONG)
        if len(step) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (constants["steps"] < 0).any():
            raise ArithmeticError("impossible")
        return Evaluation({"total": (params["x"] - constants["target"]).square().sum(dim=1)})

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        return torch.full((len(step),), 0.1)

    def settle(self, params: Tensors) -> Tensors:
        return params

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        return torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))


def valley(N: int = 1, steps: int = 50, target: float = 1.0) -> dict[str, Tensor]:
    return {"target": torch.full((N, 3), target), "steps": torch.full((N,), steps)}


@pytest.fixture
def ticks() -> list[Tick]:
    return []


@pytest.fixture
def engine(ticks: list[Tick]) -> Iterator[Engine]:
    with Engine("cpu", max_batch=32, crew=1, observe=ticks.append) as engine:
        yield engine


@pytest.fixture
def jobs() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as jobs:
        yield jobs


Begin = Callable[..., list[Future[Course]]]


@pytest.fixture
def together(engine: Engine, jobs: ThreadPoolExecutor) -> Begin:
    """Starts jobs in threads of their own; the engine is kept busy until all of them have arrived."""

    def begin(
        *calls: Callable[[], Course], then: Callable[[], object] = lambda: None
    ) -> list[Future[Course]]:
        entered, opened = threading.Event(), threading.Event()

        def wait(network: object, inputs: Tensors) -> Tensor:
            entered.set()
            assert opened.wait(LONG)
            return inputs["x"]

        engine.forward(SimpleNamespace(generator=Pixel()), wait, {"x": torch.zeros(1, 1)})
        assert entered.wait(LONG)
        futures = []
        for count, call in enumerate(calls, 1):
            futures.append(jobs.submit(call))
            while len(engine._arrivals) < count:
                threading.Event().wait(0.002)
        then()
        opened.set()
        return futures

    return begin


class Pixel(nn.Module):
    img_resolution = 64


def identity(network: nn.Module, inputs: Tensors) -> Tensor:
    return inputs["x"]


def sizes(engine: Engine, ticks: list[Tick]) -> list[int]:
    """How many samples took each step; all work must have been handed in."""
    assert engine.drain(LONG)
    return [t.rows for t in ticks if t.work == "optimise"]


# --- sharing steps -------------------------------------------------------------------------------------


def test_results_are_those_of_the_plain_loop(engine: Engine) -> None:
    course = engine.optimise(Valley(), valley(3))
    expected = run(Valley(), valley(3))
    assert torch.equal(course.params["x"], expected.params["x"])
    assert course.curves == expected.curves and course.outcomes == expected.outcomes


def test_jobs_with_equal_programs_step_together_and_leave_when_done(
    engine: Engine, together: Begin, ticks: list[Tick]
) -> None:
    jobs = together(
        lambda: engine.optimise(Valley(), valley(2, steps=10)),
        lambda: engine.optimise(Valley(), valley(3, steps=4)),
    )
    assert [job.result(LONG).steps for job in jobs] == [[10, 10], [4, 4, 4]]
    assert sizes(engine, ticks) == [5] * 4 + [2] * 6


def test_a_job_joins_others_in_the_middle_of_their_run(engine: Engine, jobs: ThreadPoolExecutor) -> None:
    second: list[Future[Course]] = []

    def on_step(update: Update) -> None:
        if not second:
            second.append(jobs.submit(lambda: engine.optimise(Valley(), valley(1, steps=5, target=2.0))))

    first = engine.optimise(Valley(), valley(1, steps=2000), on_step=on_step)
    assert second[0].result(LONG).steps == [5] and first.steps == [2000]
    torch.testing.assert_close(first.params["x"], run(Valley(), valley(1, steps=2000)).params["x"])


def test_other_programs_and_shapes_are_not_stacked(
    engine: Engine, together: Begin, ticks: list[Tick]
) -> None:
    wide = {"target": torch.ones(1, 5), "steps": torch.tensor([3])}
    jobs = together(
        lambda: engine.optimise(Valley("one"), valley(1, steps=3)),
        lambda: engine.optimise(Valley("two"), valley(1, steps=3)),
        lambda: engine.optimise(Valley("one"), wide),
    )
    assert [job.result(LONG).steps for job in jobs] == [[3]] * 3
    assert sizes(engine, ticks) == [1] * 9


def test_more_samples_than_fit_into_a_stack_take_turns(
    engine: Engine, together: Begin, ticks: list[Tick]
) -> None:
    jobs = together(*(lambda n=n: engine.optimise(Valley(), valley(n, steps=3)) for n in (20, 30, 8)))
    assert [job.result(LONG).steps for job in jobs] == [[3] * n for n in (20, 30, 8)]
    assert sizes(engine, ticks) == [28, 30] * 3


@pytest.mark.parametrize("space", ["z", "w", "w+", "s", "p+"])
def test_a_projection_alone_and_in_company_agree_over_fifty_steps(
    space: str, engine: Engine, together: Begin
) -> None:
    """To 5e-3 in w, whose deviation is about 1: batch sizes round differently (by 1e-6), and Adam, which
    scales small gradients up, amplifies that."""
    project = projector(space)
    targets = pictures(project, 3)
    options = [SearchOptions(steps=50 + 7 * i, seed=i, perceptual=0, pixel=1) for i in range(3)]
    problems = [project.problems(t[None], o) for t, o in zip(targets, options, strict=True)]
    jobs = together(*(lambda p=p: engine.optimise(project, p) for p in problems))
    for problem, job in zip(problems, jobs, strict=True):
        alone, company = run(project, problem), job.result(LONG)
        assert company.steps == alone.steps
        torch.testing.assert_close(company.params[space[0]], alone.params[space[0]], rtol=0, atol=5e-3)
        total = company.curves[0]["total"], alone.curves[0]["total"]
        torch.testing.assert_close(*map(torch.tensor, total), rtol=1e-3, atol=0)


def projector(space: str) -> Search:
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=16, z_dim=16, w_dim=16, mapping_layers=2, channel_max=16)
    generator = Generator(config).eval().requires_grad_(False)
    return Search(generator, CodeBook(generator, w_statistics(sample_w(generator))).get(Space(space)), None)


def pictures(project: Search, N: int) -> Tensor:
    return project.generator(torch.randn(N, 16, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


# --- side by side ----------------------------------------------------------------------------------------


class Busy(Valley):
    """Notes in how many threads it is evaluated at once, and how many samples each has."""

    def __init__(self, key: Hashable = "busy", expected: int = 0) -> None:
        super().__init__(key)
        self.meeting, self.stacks = Meeting(expected), list[int]()

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        with self.meeting.join():
            self.stacks.append(len(step))
        return super().evaluate(params, constants, step)


@pytest.fixture
def crew(ticks: list[Tick]) -> Iterator[Engine]:
    with Engine("cpu", max_batch=32, crew=3, observe=ticks.append) as engine:
        yield engine


@pytest.mark.parametrize(("N", "stacks"), [(1, [1]), (2, [1, 1]), (7, [3, 2, 2]), (32, [11, 11, 10])])
def test_samples_of_a_kind_step_at_once_in_stacks_of_about_one_size(
    crew: Engine, ticks: list[Tick], N: int, stacks: list[int]
) -> None:
    program = Busy(expected=len(stacks))
    course = crew.optimise(program, valley(N, steps=2))
    assert course.steps == [2] * N and program.meeting.most == len(stacks)
    assert sorted(program.stacks[: len(stacks)], reverse=True) == stacks
    assert sizes(crew, ticks) == [N, N]
    torch.testing.assert_close(course.params["x"], run(Valley(), valley(N, steps=2)).params["x"])


def test_few_samples_for_many_cores_stay_together(ticks: list[Tick]) -> None:
    program = Busy()
    with Engine("cpu", crew=16) as engine:
        engine.optimise(program, valley(5, steps=2))
        engine.optimise(program, valley(6, steps=1))
    assert program.stacks == [5, 5] + [1] * 6


def test_stacks_are_evened_out_when_samples_leave(crew: Engine, ticks: list[Tick]) -> None:
    program, problems = Busy(), valley(9)
    problems["steps"] = torch.tensor([1, 1, 1, 1, 1, 3, 3, 3, 3])  # a stack of three and most of the next
    course = crew.optimise(program, problems)
    assert course.steps == problems["steps"].tolist() and sizes(crew, ticks) == [9, 4, 4]
    assert sorted(program.stacks[3:6]) == sorted(program.stacks[6:]) == [1, 1, 2]


def test_every_job_is_told_once_a_step_however_many_stacks_it_is_in(crew: Engine) -> None:
    seen: list[list[int]] = []
    crew.optimise(Busy(), valley(5, steps=20), on_step=lambda update: seen.append(update.steps))
    assert seen[-1] == [20] * 5 and all(len(set(steps)) == 1 for steps in seen)


def test_kinds_take_turns_also_where_one_has_more_stacks_than_the_crew_has_threads(
    crew: Engine, jobs: ThreadPoolExecutor
) -> None:
    long = jobs.submit(lambda: crew.optimise(Valley("many"), valley(200, steps=400)))
    short = crew.optimise(Valley("few"), valley(1, steps=5))
    assert short.steps == [5] and not long.done()
    assert long.result(LONG).steps == [400] * 200


def test_a_run_that_is_resumed_by_a_crew_makes_the_same_bits(crew: Engine) -> None:
    project = projector("w+")
    problems = project.problems(pictures(project, 5), SearchOptions(steps=30, perceptual=0, pixel=1))
    problems["steps"] = torch.tensor([8, 20, 30, 30, 30])
    assert_resumes(crew, project, problems)


def test_what_one_stack_raises_fails_its_jobs_and_no_others(crew: Engine, jobs: ThreadPoolExecutor) -> None:
    good = jobs.submit(lambda: crew.optimise(Valley(), valley(1, steps=300)))
    with pytest.raises(ArithmeticError, match="impossible"):
        crew.optimise(Valley("bad"), valley(5, steps=-1))
    assert good.result(LONG).steps == [300]


def test_tuned_generators_paint_side_by_side(crew: Engine) -> None:
    """Each sample has its own weights, put into a generator that others must not use meanwhile."""
    generator = projector("w").generator
    tuning = PivotalTuning(generator, None)
    ws = generator.map(torch.randn(6, 16, generator=torch.Generator().manual_seed(2)))
    options = TuningOptions(steps=6, perceptual=0, stop=None)
    targets = pictures(projector("w"), 6)
    problems = tuning.problems(targets, broadcast(ws, generator.num_ws), options)
    course, alone = crew.optimise(tuning, problems), run(tuning, problems)
    for name, weight in alone.params.items():
        torch.testing.assert_close(course.params[name], weight, rtol=0, atol=1e-5)


# --- stopping, resuming, failing -----------------------------------------------------------------------


class Canceled(Exception):
    pass


def test_a_projection_resumed_from_a_checkpoint_makes_the_same_bits(engine: Engine) -> None:
    project = projector("w+")
    problems = project.problems(pictures(project, 2), SearchOptions(steps=40, perceptual=0, pixel=1))
    assert_resumes(engine, project, problems)


def assert_resumes(engine: Engine, project: Search, problems: Tensors) -> None:
    """Broken off after 11 steps of the last sample, and resumed, it ends with the bits of a whole run."""
    whole, saved = engine.optimise(project, problems), dict[str, Tensor]()

    def interrupt(update: Update) -> None:
        saved.update(update.tensors())
        if update.steps[-1] >= 11:
            raise Canceled

    with pytest.raises(Canceled):
        engine.optimise(project, problems, on_step=interrupt)
    resumed = engine.optimise(projector("w+"), problems, saved=saved)
    assert all(torch.equal(resumed.params[name], t) for name, t in whole.params.items())
    assert resumed.curves == whole.curves


def test_a_callback_that_raises_takes_the_samples_out_at_the_next_step(
    engine: Engine, ticks: list[Tick]
) -> None:
    program = Valley()

    def cancel(update: Update) -> None:
        raise Canceled

    with pytest.raises(Canceled):
        engine.optimise(program, valley(4, steps=10**6), on_step=cancel)
    assert engine.drain(LONG)
    assert len(sizes(engine, ticks)) < 10**6


def test_a_job_is_asked_whether_to_go_on_even_while_nothing_moves(engine: Engine) -> None:
    program, asked = Valley(), []
    program.go.clear()

    def check() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise Canceled

    with pytest.raises(Canceled):
        engine.optimise(program, valley(), check=check)
    program.go.set()


def test_progress_skips_steps_that_a_slow_listener_missed_but_never_the_last(engine: Engine) -> None:
    seen: list[int] = []

    def slow(update: Update) -> None:
        seen.append(update.step)
        threading.Event().wait(0.02)

    engine.optimise(Valley(), valley(2, steps=300), on_step=slow)
    assert seen[-1] == 300 and len(seen) < 300 and seen == sorted(seen)


def test_an_update_shows_losses_and_a_checkpoint(engine: Engine) -> None:
    last: list[Update] = []
    engine.optimise(Valley(), valley(2, steps=5), on_step=last.append)
    update = last[-1]
    assert update.losses == update.terms["total"] and len(update.losses) == 2
    assert update.outcomes == [Outcome.FINISHED] * 2 and update.device_s > 0
    assert update.tensors()["curve/total"].shape == (2, 5)


def test_a_diverging_sample_fails_alone(engine: Engine, together: Begin) -> None:
    jobs = together(
        lambda: engine.optimise(Valley(), valley(2, steps=20)),
        lambda: engine.optimise(Valley(), valley(1, steps=20, target=float("nan"))),
    )
    good, bad = (job.result(LONG) for job in jobs)
    assert good.outcomes == [Outcome.FINISHED] * 2
    assert bad.failures[0].step == 1


def test_a_program_that_raises_fails_the_jobs_that_stepped_with_it_and_no_others(
    engine: Engine, together: Begin
) -> None:
    bad, neighbour, other = together(
        lambda: engine.optimise(Valley(), valley(1, steps=-1)),
        lambda: engine.optimise(Valley(), valley(1)),
        lambda: engine.optimise(Valley("other"), valley(1)),
    )
    for job in (bad, neighbour):
        with pytest.raises(ArithmeticError, match="impossible"):
            job.result(LONG)
    assert other.result(LONG).steps == [50]


def test_a_stack_that_does_not_fit_into_memory_is_halved_once(engine: Engine, ticks: list[Tick]) -> None:
    assert engine.optimise(Valley(memory=8), valley(16, steps=3)).steps == [3] * 16
    with pytest.raises(EngineOutOfMemory):
        engine.optimise(Valley("smaller", memory=2), valley(16, steps=3))
    assert sizes(engine, ticks) == [8] * 6


# --- the engine as a whole -----------------------------------------------------------------------------


def test_forward_blocks_go_first_but_do_not_starve_optimisation(
    engine: Engine, together: Begin, ticks: list[Tick]
) -> None:
    model, x = SimpleNamespace(generator=Pixel()), torch.zeros(16 * 40, 1)
    job = together(
        lambda: engine.optimise(Valley(), valley(1, steps=3)),
        then=lambda: engine.forward(model, identity, {"x": x}),
    )[0]
    job.result(LONG)
    assert engine.drain(LONG)
    order = "".join(t.work[0] for t in ticks)
    assert order.count("o") == 3 and order.count("f") == 41
    assert order.startswith("ffff") and "f" * (BURST * 2 + 1) not in order[: order.rindex("o")]


def test_the_engine_shows_that_it_lives_and_whether_it_works(engine: Engine) -> None:
    program, before = Valley(), engine.last_tick
    program.go.clear()
    with ThreadPoolExecutor(1) as job:
        future = job.submit(lambda: engine.optimise(program, valley(1, steps=2)))
        assert program.entered.wait(LONG)
        assert not engine.drain(0.05)
        program.go.set()
        future.result(LONG)
    assert engine.drain(LONG)
    assert not engine.busy and engine.last_tick >= before


def test_a_draining_engine_accepts_no_optimisation_and_still_paints(engine: Engine) -> None:
    assert engine.drain(LONG)
    with pytest.raises(EngineClosed):
        engine.optimise(Valley(), valley())
    picture = engine.forward(SimpleNamespace(generator=Pixel()), identity, {"x": torch.ones(1, 1)})
    assert picture.result(LONG).item() == 1


def test_closing_fails_what_waits_instead_of_leaving_it_hanging(jobs: ThreadPoolExecutor) -> None:
    engine, program = Engine("cpu"), Valley()
    program.go.clear()
    running = jobs.submit(lambda: engine.optimise(program, valley(1, steps=10**6)))
    assert program.entered.wait(LONG)
    waiting = engine.forward(SimpleNamespace(generator=Pixel()), identity, {"x": torch.ones(1, 1)})
    closing = jobs.submit(engine.close)
    program.go.set()
    closing.result(LONG)
    with pytest.raises(EngineClosed):
        running.result(LONG)
    with pytest.raises(EngineClosed):
        waiting.result(LONG)
    with pytest.raises(EngineClosed):
        engine.forward(SimpleNamespace(generator=Pixel()), identity, {"x": torch.ones(1, 1)})
