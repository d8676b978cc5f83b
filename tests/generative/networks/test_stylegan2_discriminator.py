import pytest
import torch

from generative.networks.stylegan2_discriminator import (
    Discriminator,
    DiscriminatorConfig,
    append_batch_deviation,
)


def batch_deviation_one_by_one(x, group_size):
    """The definition for one statistics channel, loops only."""
    N = x.shape[0]
    G = min(group_size, N)
    maps = torch.empty(N, 1, *x.shape[2:], dtype=x.dtype)
    for n in range(N):
        group = x[n % (N // G) :: N // G]
        deviations = [
            ((group[:, c, i, j] - group[:, c, i, j].mean()).square().mean() + 1e-8).sqrt()
            for c in range(x.shape[1])
            for i in range(x.shape[2])
            for j in range(x.shape[3])
        ]
        maps[n] = sum(deviations) / len(deviations)
    return torch.cat([x, maps], dim=1)


@pytest.mark.parametrize("group_size", [1, 2, 3, 6, 8])
def test_batch_deviation_is_its_definition(group_size):
    x = torch.randn(6, 4, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(
        append_batch_deviation(x, group_size, 1), batch_deviation_one_by_one(x, group_size)
    )


def test_a_batch_that_does_not_split_into_groups_is_refused():
    with pytest.raises(ValueError, match="groups of 4"):
        append_batch_deviation(torch.zeros(6, 2, 4, 4), 4, 1)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_the_r1_penalty_reaches_every_parameter_that_the_picture_passes(architecture):
    torch.manual_seed(0)
    config = DiscriminatorConfig(img_resolution=16, channel_max=8, architecture=architecture)
    discriminator = Discriminator(config)
    images = torch.randn(4, 3, 16, 16, requires_grad=True)

    [gradient] = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()

    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)


def test_mixed_precision_logits_stay_close():
    torch.manual_seed(0)
    discriminator = Discriminator(DiscriminatorConfig(img_resolution=16, channel_max=16))
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        exact = discriminator(images)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = discriminator(images)
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
