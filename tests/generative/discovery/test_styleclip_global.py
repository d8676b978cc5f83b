import pytest
import torch

from generative.discovery.styleclip_global import (
    channel_directions,
    choose_beta,
    style_boundary,
    text_direction,
)
from generative.discovery.stylespace import Channel, move, style_statistics

from .vectors import Vectors

LAYERS, TORGB = 8, (False, True, False, False, True, False, False, True)
STRENGTHS = (-4, 0, 4)


def test_every_step_from_features_to_codes_agrees_with_the_official_code():
    stored = Vectors("stylespace_styleclip_global", "boundary")

    def layers(name):
        return [stored[f"{name}_{i:02}"] for i in range(LAYERS)]

    statistics = style_statistics(layers("S"))
    close(statistics.mean, layers("code_mean"))
    close(statistics.std, layers("code_std"))
    torch.testing.assert_close(channel_directions(stored["fs"]), stored["fs3"], rtol=0, atol=1e-5)
    text = text_direction(stored["target_feature"][None], stored["neutral_feature"][None])
    torch.testing.assert_close(text.float(), stored["dt"], rtol=0, atol=1e-5)

    for name, beta, channels in (
        ("beta00", 0.0, 100), ("beta10", 0.1, 100), ("beta30", 0.3, 100), ("short", 0.1, 88),
    ):  # fmt: skip
        boundary = style_boundary(stored["fs3"][:channels], stored["dt"], statistics.std, TORGB, beta)
        close(boundary, layers(f"{name}_boundary"))
        if name == "beta10":
            codes = [
                s[:3, None] + torch.tensor(STRENGTHS)[:, None] * b
                for s, b in zip(layers("S"), boundary, strict=True)
            ]
            close(codes, layers("beta10_code"))
    single = [
        move([s[:3] for s in layers("S")], Channel(3, 7, 0.0), strength * 2.5, statistics)
        for strength in STRENGTHS
    ]
    close([torch.stack(parts, dim=1) for parts in zip(*single, strict=True)], layers("single_l3_c7_code"))
    stored.assert_all_read()


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=1e-5)


def test_the_relevance_to_ask_for_is_the_official_one():
    stored = Vectors("stylespace_styleclip_global", "boundary")
    for enough, beta in stored.meta["auto_beta"]["result"].items():
        assert choose_beta(stored["fs3"], stored["dt"], int(enough)) == pytest.approx(beta)
    assert choose_beta(stored["fs3"], stored["dt"], 1000) == 0.1


def test_only_channels_along_the_text_are_moved():
    channels = torch.eye(6)[:, :4] * torch.tensor([1.0, 1, 1, 1])
    stdevs = [torch.full((2,), 3.0), torch.ones(1), torch.full((4,), 5.0)]
    boundary = style_boundary(channels, torch.tensor([0.0, 0.0, -0.8, 0.1]), stdevs, (False, True, False))
    assert [b.tolist() for b in boundary] == [[0, 0], [0], [-5, 0, 0, 0]]


def test_texts_are_averaged_over_their_templates_without_regard_to_length():
    target = torch.tensor([[2.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    neutral = torch.tensor([[0.0, 0.0, 1.0]])
    text = text_direction(target, neutral)
    assert float(text.norm()) == pytest.approx(1)
    assert float(text[0]) == pytest.approx(float(text[1])) and float(text[2]) < 0


@pytest.mark.parametrize(
    "channels, beta, message", [(5, 0.0, "5 channels for a network that has 4"), (4, 3.0, "smaller beta")]
)
def test_channels_that_the_network_lacks_and_texts_that_move_nothing_are_refused(channels, beta, message):
    with pytest.raises(ValueError, match=message):
        style_boundary(torch.ones(channels, 2), torch.ones(2), [torch.ones(4)], [False], beta)
