import itertools

import pytest
import torch

from generative.editing.direction import Direction
from generative.metrics.changes import Edit, mixed, turn, turned, turned_renders
from generative.metrics.identity import IDENTITY, identity
from generative.spaces import Space
from generative.worlds import portraits

KINDS = {"jaw": "continuous", "beard": "binary", "hair_color": "categorical"}


def people(n: int = 40, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        "jaw": torch.rand(n, generator=rng),
        "beard": torch.rand(n, generator=rng),
        "hair_color": torch.randint(5, (n,), generator=rng).float(),
    }


def test_who_does_not_change_is_wholly_the_same() -> None:
    found = identity(people(), people(), KINDS)
    assert found.consistency == 1 and set(found.drift.values()) == {0}


def test_who_becomes_a_stranger_has_drifted_by_one() -> None:
    """Exactly one, when everybody in turn becomes everybody else."""
    one = people(12)
    pairs = list(itertools.permutations(range(12), 2))
    before = {n: x[[i for i, _ in pairs]] for n, x in one.items()}
    after = {n: x[[j for _, j in pairs]] for n, x in one.items()}
    found = identity(before, after, KINDS)
    # strangers are drawn from `before`, where each person is there eleven times: a little less different
    assert found.drift == {name: pytest.approx(1, abs=0.09) for name in KINDS}


def test_drift_is_the_mean_move_over_the_mean_difference_of_strangers() -> None:
    before, after = people(15), people(15, seed=1)
    moved = (after["jaw"] - before["jaw"]).abs().mean()
    strangers = [abs(a - b) for a, b in itertools.permutations(before["jaw"].tolist(), 2)]
    expected = moved.item() / (sum(strangers) / len(strangers))
    assert identity(before, after, {"jaw": "continuous"}).drift["jaw"] == pytest.approx(expected)
    changed = (after["hair_color"] != before["hair_color"]).double().mean()
    differ = [a != b for a, b in itertools.permutations(before["hair_color"].tolist(), 2)]
    expected = changed.item() / (sum(differ) / len(differ))
    assert identity(before, after, {"hair_color": "categorical"}).drift["hair_color"] == pytest.approx(
        expected
    )


def test_a_factor_in_which_all_are_alike_does_not_count() -> None:
    before, after = people() | {"beard": torch.zeros(40)}, people(seed=1) | {"beard": torch.zeros(40)}
    assert set(identity(before, after, KINDS).drift) == {"jaw", "hair_color"}
    with pytest.raises(ValueError, match="nobody"):
        identity(before, after, {"beard": "binary"})


def test_identity_factors_are_of_the_world() -> None:
    assert set(IDENTITY) < set(portraits.NAMES)


# --- the changes -----------------------------------------------------------------------------------------


def test_turning_moves_what_yaw_depends_on_by_one_standard_deviation_inwards() -> None:
    """A world in which yaw is one coordinate of w, and another goes along with it by half."""
    rng = torch.Generator().manual_seed(0)
    w = torch.randn(20_000, 6, generator=rng)
    w[:, 1] = 0.5 * w[:, 0] + w[:, 1]
    yaw = 0.3 * w[:, 0]
    ws = w[:, None].expand(-1, 4, -1)
    moved = turned(ws, yaw) - ws
    sign = -torch.where(yaw > yaw.mean(), 1.0, -1.0)
    torch.testing.assert_close(0.3 * moved[:, 0, 0], turn(yaw), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(moved[:, 3, 1], 0.5 * moved[:, 3, 0], atol=0.02, rtol=0.05)
    assert (moved[:, :, 2:].abs() < 0.05).all()
    assert torch.equal(moved[:, 0, 0].sign(), sign)


def test_turned_renders_differ_in_nothing_but_yaw() -> None:
    factors = portraits.sample(50, torch.Generator().manual_seed(0))
    after = turned_renders(factors)
    portraits.check(after)
    column = portraits.index("yaw")
    assert (after != factors).any(dim=0).nonzero().flatten().tolist() == [column]
    assert (after[:, column] - factors[:, column]).abs().mean() > 0.2


def test_an_edit_moves_as_its_direction_says() -> None:
    ws = torch.randn(3, 1, 4, generator=torch.Generator().manual_seed(0)).expand(-1, 5, -1)
    unit = torch.tensor([0.0, 1.0, 0.0, 0.0])
    some = Edit(Direction("smile", Space.W, unit, layers=(1, 2), unit="sigma", sigma=2.0), 1.5)
    assert some.name == "smile +1.5"
    assert (some(ws) - ws)[0, :, 1].tolist() == [0, 3, 3, 0, 0]
    assert (Edit(some.direction, 1.5, layers=(4,))(ws) - ws)[0, :, 1].tolist() == [0, 0, 0, 0, 3]
    plane = Edit(Direction("smile", Space.W, unit, unit="distance"), 2.0)  # to the distance, not by it
    torch.testing.assert_close(plane(ws)[..., 1], torch.full((3, 5), 2.0))


def test_mixing_takes_the_upper_half_from_the_next() -> None:
    ws = torch.arange(3.0)[:, None, None].expand(3, 5, 2)
    assert mixed(ws)[:, :, 0].tolist() == [[0, 0, 1, 1, 1], [1, 1, 2, 2, 2], [2, 2, 0, 0, 0]]
