import torch

from generative.networks.feature_network import FeatureNetwork, FeatureRecord, Readout
from generative.networks.projected_discriminator import GroupDeviation, ProjectedDiscriminator


def discriminator() -> ProjectedDiscriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        readouts = (Readout(name="smile", kind="continuous"),)
        return ProjectedDiscriminator(FeatureNetwork(FeatureRecord(resolution=64, readouts=readouts)))


def images(n: int = 2) -> torch.Tensor:
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_there_is_a_logit_for_every_scale_and_one_for_the_pixels() -> None:
    assert discriminator()(images()).shape == (2, 5)


def test_mixed_features_have_the_sizes_of_the_stages() -> None:
    shapes = [tuple(m.shape[1:]) for m in discriminator().projection(images())]
    assert shapes == [(32, 32, 32), (48, 16, 16), (64, 8, 8), (96, 4, 4)]


def test_gradients_reach_heads_and_pictures_but_not_the_projection() -> None:
    D, x = discriminator().train(), images().requires_grad_(True)
    D(x).sum().backward()

    assert all(p.grad is None for p in D.projection.parameters())
    trainable = [p for n, p in D.named_parameters() if not n.startswith("projection.")]
    assert trainable and all(p.grad is not None and p.grad.abs().sum() > 0 for p in trainable)
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_every_scale_sees_the_coarsest_features() -> None:
    """Mixing across scales runs from coarse to fine, so a change in the last stage reaches all heads."""
    D = discriminator().eval()
    before = D(images())
    with torch.no_grad():
        D.projection.features.stages[3].conv0.weight.mul_(1.5)
    moved = (D(images()) - before).abs().amax(dim=0)
    assert (moved[:4] > 1e-6).all() and moved[4] == 0


def test_a_logit_depends_on_its_group_and_on_no_other() -> None:
    D, x = discriminator().eval(), images(8)
    before = D(x)
    x[5] = x[5].flip(2)
    moved = (D(x) - before).abs().amax(dim=1)
    assert (moved[:4] == 0).all() and (moved[4:] > 0).all()


def test_the_deviation_of_a_group_is_that_of_its_samples() -> None:
    x = torch.zeros(8, 2, 3, 3)
    x[4:6] = 3.0  # half of the second group: deviation 1.5 everywhere
    channel = GroupDeviation()(x)[:, 2]
    assert torch.allclose(channel[:4], torch.tensor(1e-4)) and torch.allclose(channel[4:], torch.tensor(1.5))


def test_training_mode_leaves_the_statistics_of_the_features_alone() -> None:
    D = discriminator().train()
    before = D.projection.features.stages[0].norm0.running_mean.clone()
    D(images())
    assert torch.equal(D.projection.features.stages[0].norm0.running_mean, before)


def test_each_weight_of_a_head_has_spectral_norm_one_after_training_steps() -> None:
    D = discriminator().train()
    with torch.no_grad():
        for _ in range(60):
            D(images())
    weight = D.heads[0][0].weight
    assert abs(torch.linalg.matrix_norm(weight.flatten(1), 2).item() - 1) < 0.05


def test_features_of_a_picture_do_not_depend_on_its_group() -> None:
    D, x = discriminator().eval(), images(8)
    together, alone = D.features(x), D.features(x[5:6])
    assert len(together) >= 3  # at least the critic's two, and one head's
    assert all(m.ndim == 4 and len(m) == 8 for m in together)
    assert all(torch.allclose(m[5:6], one, atol=1e-5) for m, one in zip(together, alone, strict=True))


def test_the_last_feature_of_the_critic_leads_to_its_logit() -> None:
    D, x = discriminator().eval(), images(4)
    last = D.features(x)[-1]
    rest = list(D.pixels.children())[4:]
    for layer in rest:
        last = layer(last)
    assert torch.allclose(last.flatten(1).mean(1), D(x)[:, -1], atol=1e-5)
