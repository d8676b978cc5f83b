import pytest
import torch

from generative.training.augment import MAX_PROBABILITY, AdaptiveStrength, augment


def images(n: int = 256) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_no_strength_changes_nothing() -> None:
    assert torch.equal(augment(images(), 0.0, torch.Generator()), images())


def test_most_pictures_stay_as_they_are_while_the_strength_is_small() -> None:
    out = augment(images(1_000), 0.05, torch.Generator().manual_seed(0))
    same = (out - images(1_000)).abs().amax(dim=(1, 2, 3)) < 1e-4
    # eight independent transforms, each left out with probability 0.95
    assert same.float().mean().item() == pytest.approx(0.95**8, abs=0.05)


def test_the_untransformed_picture_stays_the_mode_of_what_the_discriminator_sees() -> None:
    out = augment(images(2_000), 0.3, torch.Generator().manual_seed(0))
    drift = (out - images(2_000)).mean().item()
    assert abs(drift) < 0.02  # no tint, no shift of brightness on the whole


def test_augmentation_repeats_with_the_same_generator_state() -> None:
    one = augment(images(), 0.5, torch.Generator().manual_seed(3))
    two = augment(images(), 0.5, torch.Generator().manual_seed(3))
    assert torch.equal(one, two)


def test_colour_transforms_leave_grey_pictures_grey() -> None:
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    out = augment(grey, 1.0, torch.Generator().manual_seed(0))
    assert (out - out.mean(dim=1, keepdim=True)).abs().max().item() < 1e-5


def test_gradients_flow_to_the_pictures() -> None:
    x = images(8).requires_grad_(True)
    augment(x, 1.0, torch.Generator().manual_seed(0)).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0


def observe(strength: AdaptiveStrength, logit: float) -> None:
    for _ in range(4):
        strength.observe(torch.full((10, 5), logit))
    strength.adjust()


def test_strength_rises_with_overfitting_and_falls_without() -> None:
    strength = AdaptiveStrength(target=0.6, ramp=400)
    observe(strength, 1.0)
    observe(strength, 1.0)
    assert strength.probability == pytest.approx(0.2)  # 80 of 400 images
    observe(strength, -1.0)
    assert strength.probability == pytest.approx(0.1)


def test_strength_stays_within_its_limits() -> None:
    strength = AdaptiveStrength(target=0.6, ramp=40)
    observe(strength, -1.0)
    assert strength.probability == 0
    for _ in range(3):
        observe(strength, 1.0)
    assert strength.probability == MAX_PROBABILITY


def test_strength_without_target_stays_zero() -> None:
    strength = AdaptiveStrength(target=None)
    observe(strength, 1.0)
    assert strength.probability == 0
