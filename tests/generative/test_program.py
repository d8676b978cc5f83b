"""Programs on a problem whose answer is known: find x with A x = target, for one A and many targets."""

from collections.abc import Hashable

import pytest
import torch
from torch import Tensor

from generative.batch import Tensors
from generative.program import BETAS, Course, Diverged, Evaluation, Outcome, advance, run, start

MATRIX = torch.tensor([[2.0, 0.3, 0.0], [0.1, 1.5, 0.2], [0.0, 0.4, 1.0]])


class LinearProgram:
    """Parameters x: (N, 3); the loss is the squared distance of A x to the target."""

    key: Hashable = "linear"

    def constants(self, problems: Tensors) -> Tensors:
        return problems

    def begin(self, problems: Tensors) -> Tensors:
        return {"x": torch.zeros_like(problems["target"])}

    def evaluate(self, params: Tensors, constants: Tensors, step: Tensor) -> Evaluation:
        y = params["x"] @ MATRIX.T
        loss = (y - constants["target"]).square().sum(dim=1)
        return Evaluation({"total": loss}, y[:, None, None])

    def learning_rate(self, constants: Tensors, step: Tensor) -> Tensor:
        return constants["rate"] * 0.999**step

    def settle(self, params: Tensors) -> Tensors:
        return params

    def outcome(self, constants: Tensors, step: Tensor, terms: Tensors) -> Tensor:
        outcome = torch.where(step >= constants["steps"], int(Outcome.FINISHED), int(Outcome.RUNNING))
        return torch.where(terms["total"] <= constants["stop"], int(Outcome.STOPPED), outcome)


def problems(*rows: tuple[list[float], float, int, float]) -> dict[str, Tensor]:
    """(target, learning rate, steps, loss to stop at) of each sample."""
    targets, rates, steps, stops = zip(*rows, strict=True)
    return {
        "target": torch.tensor(targets),
        "rate": torch.tensor(rates, dtype=torch.float64),
        "steps": torch.tensor(steps),
        "stop": torch.tensor(stops),
    }


ONE = ([1.0, 2.0, 3.0], 0.05, 400, -1.0)
TWO = ([-1.0, 0.5, 0.2], 0.1, 300, -1.0)


def test_the_known_solution_is_found() -> None:
    course = run(LinearProgram(), problems(ONE, TWO))
    targets = torch.tensor([ONE[0], TWO[0]])
    torch.testing.assert_close(course.params["x"], torch.linalg.solve(MATRIX, targets.T).T, rtol=0, atol=1e-3)
    assert course.outcomes == [Outcome.FINISHED, Outcome.FINISHED]
    assert course.steps == [400, 300]
    assert [len(curve["total"]) for curve in course.curves] == [400, 300]


def test_steps_are_those_of_the_adam_of_torch() -> None:
    program = LinearProgram()
    course = run(program, problems((ONE[0], 0.05, 50, -1.0)))
    x = torch.zeros(1, 3, requires_grad=True)
    adam = torch.optim.Adam([x], betas=BETAS)
    for step in range(50):
        adam.param_groups[0]["lr"] = 0.05 * 0.999**step
        adam.zero_grad()
        ((x @ MATRIX.T - torch.tensor([ONE[0]])) ** 2).sum().backward()
        adam.step()
    torch.testing.assert_close(course.params["x"], x.detach(), rtol=0, atol=1e-6)


def test_a_sample_has_its_own_steps_and_rate_in_any_company() -> None:
    together = run(LinearProgram(), problems(ONE, TWO, ONE))
    for i, alone in enumerate([ONE, TWO, ONE]):
        expected = run(LinearProgram(), problems(alone))
        torch.testing.assert_close(together.params["x"][i], expected.params["x"][0], rtol=0, atol=1e-6)
        assert together.steps[i] == expected.steps[0]


def test_a_sample_stops_as_soon_as_it_reaches_its_target() -> None:
    course = run(LinearProgram(), problems((ONE[0], 0.05, 400, 0.5), ONE))
    assert course.outcomes == [Outcome.STOPPED, Outcome.FINISHED]
    curve = course.curves[0]["total"]
    assert curve[-1] <= 0.5 < min(curve[:-1])


@pytest.mark.parametrize("interrupted_after", [1, 37, 320])
def test_a_run_that_is_resumed_makes_the_same_bits(interrupted_after: int) -> None:
    program, given = LinearProgram(), problems(ONE, TWO)
    whole = run(program, given)

    class Stop(Exception):
        pass

    kept: dict[str, Tensor] = {}

    def stop(course: Course) -> None:
        if max(course.steps) == interrupted_after:
            kept.update(course.tensors())
            raise Stop

    with pytest.raises(Stop):
        run(program, given, stop)
    resumed = run(program, given, saved={name: t.clone() for name, t in kept.items()})
    assert torch.equal(resumed.params["x"], whole.params["x"])
    assert resumed.curves == whole.curves
    assert resumed.outcomes == whole.outcomes
    assert resumed.tensors().keys() == whole.tensors().keys()


def test_a_checkpoint_of_a_finished_run_takes_no_more_steps() -> None:
    program, given = LinearProgram(), problems(TWO)
    saved = run(program, given).tensors()

    def never(course: Course) -> None:
        pytest.fail("took a step")

    assert run(program, given, never, saved).steps == [300]


def test_a_checkpoint_of_another_run_is_refused() -> None:
    saved = run(LinearProgram(), problems(TWO)).tensors()
    with pytest.raises(ValueError, match="does not fit"):
        run(LinearProgram(), problems(ONE, TWO), saved=saved)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_a_sample_that_diverges_fails_alone_and_says_where(poison: float) -> None:
    course = run(LinearProgram(), problems(ONE, ([poison, 0.0, 0.0], 0.05, 400, -1.0)))
    failure = course.failures[1]
    assert course.outcomes == [Outcome.FINISHED, Outcome.DIVERGED]
    assert isinstance(failure, Diverged) and failure.step == 1
    torch.testing.assert_close(course.params["x"][:1], run(LinearProgram(), problems(ONE)).params["x"])


def test_an_exploding_loss_counts_as_divergence_though_it_is_finite() -> None:
    course = run(LinearProgram(), problems((ONE[0], 1e5, 400, -1.0)))
    assert list(course.failures) == [0] and course.failures[0].loss < float("inf")


def test_a_batch_is_never_changed_so_a_reference_is_a_snapshot() -> None:
    program = LinearProgram()
    _, batch = start(program, problems(ONE, TWO))
    before = {name: t.clone() for name, t in batch.state(0).items()}
    advance(program, batch)
    assert all(torch.equal(before[name], t) for name, t in batch.state(0).items())


def test_the_picture_of_the_latest_step_can_be_seen() -> None:
    course = run(LinearProgram(), problems(ONE))
    picture = course.preview(0)
    assert picture is not None
    torch.testing.assert_close(picture.flatten(), torch.tensor(ONE[0]), rtol=0, atol=1e-2)


def test_plain_descent_goes_down_the_gradient_at_the_rate_of_each_sample():
    class Bowl:
        key, optimiser = "bowl", "sgd"

        def constants(self, problems):
            return {"rate": problems["rate"]}

        def begin(self, problems):
            return {"x": problems["x"]}

        def evaluate(self, params, constants, step):
            return Evaluation({"total": params["x"].square().sum(dim=1)})

        def learning_rate(self, constants, step):
            return constants["rate"]

        def settle(self, params):
            return params

        def outcome(self, constants, step, terms):
            return torch.where(step >= 3, int(Outcome.FINISHED), int(Outcome.RUNNING))

    problems = {"x": torch.tensor([[1.0, -2.0], [1.0, -2.0]]), "rate": torch.tensor([0.1, 0.25])}
    course = run(Bowl(), problems)
    torch.testing.assert_close(course.params["x"], problems["x"] * torch.tensor([[0.8**3], [0.5**3]]))
