import numpy as np
import pytest
import torch

from generative.discovery.interfacegan import project_boundary, split_rows, train_boundary
from generative.discovery.linear_svm import linear_svm
from generative.editing.direction import apply
from generative.spaces import Space

from .vectors import METHODS, Vectors

ARTEFACTS = METHODS.parent / "artefacts" / "interfacegan" / "boundaries"


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_rows_boundary_and_accuracy_agree_with_the_official_code(case):
    stored = Vectors("interfacegan", f"train_boundary_{case}")
    settings = next(c for c in stored.meta["train_cases"] if c["case"] == case)

    found = train_boundary(
        stored["latent_codes"],
        stored["scores"].flatten(),
        chosen=settings["chosen_num_or_ratio"],
        seed=settings["numpy_seed"],
        invalid=settings["invalid_value"],
    )

    rows = torch.cat([found.rows.positive, found.rows.negative])
    assert torch.equal(rows, stored["train_indices_pos_then_neg"])
    torch.testing.assert_close(found.normal[None], stored["boundary"], rtol=0, atol=1e-5)
    plane = linear_svm(stored["latent_codes"][rows], torch.arange(len(rows)) < len(found.rows.positive))
    torch.testing.assert_close(plane.normal[None], stored["svm_coef"], rtol=0, atol=1e-5)
    assert plane.intercept == pytest.approx(float(stored["svm_intercept"]), abs=1e-5)
    assert found.intercept == pytest.approx(plane.intercept / float(plane.normal.norm()))
    log = "\n".join(settings["log"])
    assert f"validation set: {found.validation.right} / {found.validation.total} =" in log
    assert f"remaining set: {found.remaining.right} / {found.remaining.total} =" in log
    stored.assert_all_read()


def test_projections_agree_with_the_official_code():
    stored = Vectors("interfacegan", "project_boundary")
    conditions = stored["conditions"].flatten(1)
    for count in (0, 1, 3):
        ours = project_boundary(stored["primal"].flatten(), list(conditions[:count]))
        torch.testing.assert_close(ours[None], stored[f"project_{count}"], rtol=0, atol=1e-6)
    stored.assert_all_read()


@pytest.mark.parametrize("space", [Space.W, Space.W_PLUS])
def test_strengths_are_distances_in_w_and_offsets_in_w_plus(space):
    stored = Vectors("interfacegan", "linear_interpolate")
    rows = torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    boundary = train_boundary(rows, rows @ stored["boundary"].flatten(), chosen=10)
    edit = boundary.direction("smile", space)
    assert edit.unit == "distance" and edit.method == "interfacegan" and edit.vector is boundary.normal
    latents = stored["code"] if space == Space.W else stored["code_wp"]
    moved = apply(latents.expand(10, *latents.shape[1:]), edit, torch.linspace(-3, 3, 10))
    along = (moved - (0 if space == Space.W else latents)) @ boundary.normal
    expected = torch.linspace(-3, 3, 10).reshape(10, *[1] * (along.ndim - 1)).expand_as(along)
    torch.testing.assert_close(along, expected, rtol=0, atol=1e-5)


def test_published_conditional_boundaries_are_projections_of_published_ones():
    """Also for two conditions, where the official closed form leaves 1.2e-9 of them."""
    if not ARTEFACTS.exists():
        pytest.skip("the files are not beside this repository")

    def load(name):
        return torch.from_numpy(np.load(ARTEFACTS / f"pggan_celebahq_{name}_boundary.npy")).flatten()

    compared = 0
    for path in ARTEFACTS.glob("*_c_*"):
        name = path.stem.removeprefix("pggan_celebahq_").removesuffix("_boundary")
        primal, _, conditions = name.partition("_c_")
        ours = project_boundary(load(primal), [load(c) for c in conditions.split("_")])
        torch.testing.assert_close(ours, load(name), rtol=0, atol=2e-9)
        compared += 1
    assert compared == 9


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_projection_has_unit_length_and_nothing_of_its_conditions(count):
    rng = torch.Generator().manual_seed(count)
    primal, *conditions = torch.nn.functional.normalize(
        torch.randn(5, 32, generator=rng, dtype=torch.float64), dim=1
    )
    left = project_boundary(primal, conditions[:count])
    assert float(left.norm()) == pytest.approx(1)
    assert max(abs(float(left @ c)) for c in conditions[:count]) < 1e-7


def test_projections_that_leave_nothing_are_refused():
    x = torch.eye(4)
    with pytest.raises(ValueError, match="nothing is left"):
        project_boundary(x[0], [x[0]])
    with pytest.raises(ValueError, match="not independent"):
        project_boundary(x[0], [x[1], x[1], x[2]])


def test_a_known_attribute_is_found():
    rng = torch.Generator().manual_seed(3)
    latents = torch.randn(4000, 16, generator=rng)
    scores = latents[:, 5] + 0.1 * torch.randn(4000, generator=rng)
    found = train_boundary(latents, scores)
    assert found.normal[5] > 0.99
    assert found.validation.right == found.validation.total
    assert found.remaining.right > 0.8 * found.remaining.total


def test_rows_of_a_side_are_split_without_being_lost():
    positive, negative = torch.arange(10), torch.arange(10, 31)
    rows = split_rows(positive, negative, seed=0)
    assert (len(rows.positive), len(rows.negative)) == (7, 14)
    assert set(torch.cat([rows.positive, rows.validation_positive]).tolist()) == set(range(10))
    assert set(torch.cat([rows.negative, rows.validation_negative]).tolist()) == set(range(10, 31))


def test_scores_that_are_invalid_are_left_out():
    latents = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    scores = latents[:, 0].clone()
    scores[::2] = -1.0
    rows = train_boundary(latents, scores, chosen=10, invalid=-1.0).rows
    assert all(int(i) % 2 for i in torch.cat([rows.positive, rows.negative]))
