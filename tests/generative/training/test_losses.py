import math

import pytest
import torch

from generative.training.losses import discriminator_loss, generator_loss, mix, path_lengths, r1_penalty


def test_losses_of_an_undecided_discriminator_are_known() -> None:
    zeros = torch.zeros(8, 1)
    assert discriminator_loss(zeros, zeros, "logistic").item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(zeros, zeros, "hinge").item() == pytest.approx(2.0)
    assert generator_loss(zeros, "logistic").item() == pytest.approx(math.log(2))
    assert generator_loss(zeros, "hinge").item() == 0


def test_the_logistic_loss_is_binary_cross_entropy() -> None:
    fake, real = torch.randn(2, 16, 1, generator=torch.Generator().manual_seed(0))
    logits, labels = torch.cat([fake, real]), torch.cat([torch.zeros(16, 1), torch.ones(16, 1)])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    assert discriminator_loss(fake, real, "logistic").item() == pytest.approx(2 * entropy.item(), rel=1e-6)


def test_hinge_loss_is_zero_beyond_the_margins() -> None:
    assert discriminator_loss(torch.full((4,), -1.5), torch.full((4,), 1.5), "hinge").item() == 0


def test_r1_of_a_quadratic_is_known() -> None:
    # D(x) = a |x|² / 2 has gradient a x, so the penalty is a² |x|² / 2, and its derivative by a is a |x|²
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    a = torch.tensor(1.7, requires_grad=True)

    penalty = r1_penalty(a * x.square().sum(dim=(1, 2, 3)) / 2, x)
    (by_a,) = torch.autograd.grad(penalty, a)

    power = x.detach().square().sum(dim=(1, 2, 3)).mean().item()
    assert penalty.item() == pytest.approx(1.7**2 * power / 2, rel=1e-5)
    assert by_a.item() == pytest.approx(1.7 * power, rel=1e-5)


def test_path_lengths_of_a_linear_generator_are_those_of_its_matrix() -> None:
    # x = A w in every layer: E|A^T y|² over y with variance 1 / (H W) is |A|² / (H W)
    rng = torch.Generator().manual_seed(0)
    A = torch.randn(3 * 8 * 8, 4, generator=rng)
    ws = torch.randn(4_000, 1, 4, generator=rng, requires_grad=True)

    lengths = path_lengths((ws[:, 0] @ A.T).reshape(-1, 3, 8, 8), ws, rng)

    assert lengths.square().mean().item() == pytest.approx(A.square().sum().item() / 64, rel=0.05)


def test_mixing_takes_the_second_style_from_some_layer_on() -> None:
    rng = torch.Generator().manual_seed(0)
    ws = mix(torch.zeros(500, 2), torch.ones(500, 2), 10, 1.0, rng)[:, :, 0]  # (500, 10)

    assert (ws.diff(dim=1) >= 0).all()
    assert (ws[:, 0] == 0).all() and (ws[:, -1] == 1).all()
    assert sorted(set(ws.sum(dim=1).tolist())) == list(range(1, 10))


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (0.3, 0.3)])
def test_as_many_pictures_are_mixed_as_asked(probability: float, share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    ws = mix(torch.zeros(4_000, 1), torch.ones(4_000, 1), 4, probability, rng)
    assert ws[:, -1].mean().item() == pytest.approx(share, abs=0.03)
