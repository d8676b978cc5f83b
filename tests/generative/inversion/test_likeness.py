import torch
import torch.nn.functional as F
from torch import Tensor

from generative.inversion.likeness import columns, described, mean_square, perceptual, weighted
from generative.inversion.pti import TuningOptions


class Averages:
    def describe(self, images: Tensor) -> list[Tensor]:
        return [images, F.avg_pool2d(images, 2)]

    def compare(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        return sum(((x - y).abs().mean(dim=(1, 2, 3)) for x, y in zip(a, b, strict=True)), torch.zeros(1))


A, B = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)


def test_options_become_a_row_for_each_sample() -> None:
    rows = columns(TuningOptions(steps=7, stop=None), 2)
    assert rows["steps"].tolist() == [7, 7] and rows["steps"].dtype == torch.int64
    assert rows["stop"].tolist() == [-1.0, -1.0] and rows["pixel"].dtype == torch.float64


def test_targets_that_were_described_once_give_the_same_distance() -> None:
    constants = described(Averages(), B)
    expected = Averages().compare(Averages().describe(A), Averages().describe(B))
    torch.testing.assert_close(perceptual(Averages(), A, constants), expected)


def test_without_a_distance_there_is_nothing_to_describe_and_the_distance_is_0() -> None:
    assert described(None, B) == {}
    assert torch.equal(perceptual(None, A, {}), torch.zeros(2))


def test_terms_are_weighted_by_the_constants_of_their_names() -> None:
    terms = {"pixel": mean_square(A, B), "perceptual": torch.ones(2)}
    constants = {"pixel": torch.tensor([2.0, 0.0]).double(), "perceptual": torch.tensor([0.0, 3.0]).double()}
    expected = torch.stack([2 * (A[0] - B[0]).square().mean(), torch.tensor(3.0)])
    torch.testing.assert_close(weighted(terms, constants), expected)
