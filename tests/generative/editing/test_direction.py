from pathlib import Path

import numpy as np
import pytest
import torch

from generative.editing.direction import Direction, apply
from generative.editing.files import load_directions, save_directions
from generative.spaces import Space

METHODS = Path(__file__).parents[4] / "shared" / "conformance" / "methods"


def direction(space=Space.W, vector=(1.0, 2.0), **options):
    return Direction(name="d", space=space, vector=torch.tensor(vector), **options)


def test_a_direction_moves_the_layers_that_it_names():
    ws = torch.zeros(1, 3, 2)
    moved = apply(ws, direction(layers=(0, 2)), 2.0)
    assert torch.equal(moved[0], torch.tensor([[2.0, 4.0], [0.0, 0.0], [2.0, 4.0]]))
    assert torch.equal(ws, torch.zeros(1, 3, 2))


def test_the_caller_may_choose_other_layers():
    moved = apply(torch.zeros(1, 3, 2), direction(layers=(0,)), 1.0, layers=(1,))
    assert moved[0, :, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_strength_for_each_latent():
    moved = apply(torch.zeros(2, 3, 2), direction(), torch.tensor([1.0, -1.0]))
    assert moved[:, 0, 1].tolist() == [2.0, -2.0]


def test_sigma_scales_the_strength():
    assert apply(torch.zeros(1, 3, 2), direction(unit="sigma", sigma=0.5), 2.0)[0, 0].tolist() == [1.0, 2.0]


def test_distance_is_where_to_go_in_w_and_an_offset_in_w_plus():
    unit = direction(vector=(0.0, 1.0), unit="distance")
    assert apply(torch.tensor([[3.0, 7.0]]), unit, 2.0).tolist() == [[3.0, 2.0]]
    assert apply(torch.full((1, 3, 2), 7.0), unit, 2.0)[0, 0].tolist() == [7.0, 9.0]


def test_distances_agree_with_interfacegan():
    path = METHODS / "interfacegan" / "linear_interpolate.npz"
    if not path.exists():
        pytest.skip("the vectors are not beside this repository")
    case = {name: torch.from_numpy(value).double() for name, value in np.load(path).items()}
    edit = Direction("d", Space.W, case["boundary"].flatten(), unit="distance")
    strengths = torch.linspace(-3, 3, 10, dtype=torch.float64)

    flat = apply(case["code"].expand(10, -1), edit, strengths)
    layered = apply(case["code_wp"].expand(10, -1, -1), edit, strengths)

    torch.testing.assert_close(flat, case["out_default"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(layered, case["out_wp_default"], atol=1e-6, rtol=1e-6)


def test_a_vector_for_each_layer():
    edit = direction(Space.W_PLUS, ((1.0, 0.0), (0.0, 1.0)))
    assert apply(torch.zeros(1, 2, 2), edit, 3.0)[0].tolist() == [[3.0, 0.0], [0.0, 3.0]]


@pytest.mark.parametrize(
    "edit, shape, layers",
    [
        (direction(), (1, 3, 5), None),
        (direction(Space.W_PLUS), (1, 2), None),
        (direction(Space.Z), (1, 3, 2), None),
        (direction(Space.S), (1, 2), (0,)),
        (direction(), (1, 3, 2), (3,)),
        (direction(Space.W_PLUS, ((1.0, 0.0), (0.0, 1.0))), (1, 3, 2), None),
    ],
)
def test_latents_that_do_not_fit_are_refused(edit, shape, layers):
    with pytest.raises(ValueError, match=r"layers|fit"):
        apply(torch.zeros(shape), edit, 1.0, layers)


@pytest.mark.parametrize(
    "options",
    [
        {"vector": (float("nan"), 0.0)},
        {"space": Space.Z, "layers": (0,)},
        {"space": Space.S, "vector": ((1.0,), (2.0,))},
    ],
)
def test_directions_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"NaN|layers|shape"):
        direction(**options)


def test_a_set_survives_its_files(tmp_path):
    first = direction(
        layers=(0, 1, 2, 7), unit="sigma", sigma=0.25, range=(-2.0, 4.0), method="m", description="x"
    )
    second = Direction("e", Space.W_PLUS, torch.ones(3, 2), method="m", provenance={"rank": 3})
    save_directions(tmp_path, "mine", "m", [first, second])

    found = load_directions(tmp_path)

    assert list(found) == ["d", "e"]
    for before in (first, second):
        after = found[before.name]
        assert torch.equal(after.vector, before.vector)
        assert {**vars(after), "vector": 0} == {**vars(before), "vector": 0}


def test_a_name_may_be_there_only_once(tmp_path):
    save_directions(tmp_path, "a", "m", [direction()])
    save_directions(tmp_path, "b", "m", [direction()])
    with pytest.raises(ValueError, match="twice"):
        load_directions(tmp_path)
    with pytest.raises(ValueError, match="same name"):
        save_directions(tmp_path, "c", "m", [direction(), direction()])
