import pytest
import torch

from generative.worlds.portraits import FACTORS, NAMES, check, columns, index, matrix, replace, sample


def drawn(n: int, seed: int = 0, independent: bool = False) -> torch.Tensor:
    return sample(n, torch.Generator().manual_seed(seed), independent)


@pytest.mark.parametrize("independent", [False, True])
def test_samples_keep_to_the_ranges_and_kinds_of_the_schema(independent):
    factors = drawn(20_000, independent=independent)
    check(factors)
    for factor, column in zip(FACTORS, factors.T, strict=True):
        if factor.kind == "continuous":
            reach = (column.max() - column.min()) / (factor.high - factor.low)
            assert reach > 0.75, f"{factor.name} uses {reach:.2f} of its range"
        else:
            assert column.unique().tolist() == list(range(len(factor.values)))


def test_the_same_seed_draws_the_same_people():
    assert torch.equal(drawn(50, 7), drawn(50, 7))
    assert not torch.equal(drawn(50, 7), drawn(50, 8))


@pytest.mark.parametrize(
    ("a", "b", "least"),
    [
        ("beard", "jaw", 0.3),
        ("age", "glasses", 0.1),
        ("earrings", "hair_length", 0.3),
        ("smile", "mouth_open", 0.2),
    ],
)
def test_factors_go_together_where_they_do_in_people(a, b, least):
    c = columns(drawn(20_000))
    assert torch.corrcoef(torch.stack([c[a], c[b]]))[0, 1] > least


def test_grey_hair_comes_with_age_and_beards_never_with_a_narrow_jaw_trait():
    c = columns(drawn(20_000))
    grey = c["hair_color"] == 5
    assert c["age"][grey].mean() > c["age"][~grey].mean() + 0.3
    assert c["jaw"][c["beard"] == 1].min() > 0.35


def test_independent_samples_are_uncorrelated():
    correlation = torch.corrcoef(drawn(20_000, independent=True).T)
    off = correlation - torch.diag(torch.diag(correlation))
    assert off.abs().max() < 0.04


def test_independent_samples_have_the_same_distribution_of_each_factor():
    together, apart = (drawn(40_000, seed, seed == 1).sort(0).values for seed in (0, 1))
    # Quantiles, in the range of the factor: the one-dimensional Wasserstein distance
    width = torch.tensor([f.high - f.low for f in FACTORS])
    assert ((together - apart).abs().mean(0) / width).max() < 0.015


def test_columns_and_matrix_are_inverse():
    factors = drawn(5)
    assert torch.equal(matrix(columns(factors)), factors)
    assert list(columns(factors)) == list(NAMES)


def test_replace_changes_one_column_of_a_copy():
    factors = drawn(5)
    changed = replace(factors, smile=0.5)
    assert (changed[:, index("smile")] == 0.5).all()
    changed[:, index("smile")] = factors[:, index("smile")]
    assert torch.equal(changed, factors)


def test_wrong_factors_are_refused_by_name():
    factors = drawn(3)
    with pytest.raises(ValueError, match="smile must be in"):
        check(replace(factors, smile=1.5))
    with pytest.raises(ValueError, match="smile must be in"):
        check(replace(factors, smile=float("nan")))
    with pytest.raises(ValueError, match="glasses must be a whole number"):
        check(replace(factors, glasses=0.5))
    with pytest.raises(ValueError, match="factors must be"):
        check(factors[:, :5])
    with pytest.raises(ValueError, match="shoe_size"):
        matrix({**columns(factors), "shoe_size": factors[:, 0]})
    with pytest.raises(KeyError):
        index("shoe_size")
