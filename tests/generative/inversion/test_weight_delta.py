"""Small files for tuned generators: what they keep, what they cost, and what they refuse."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from generative.inversion.pti import PivotalTuning, TuningOptions
from generative.inversion.weight_delta import apply, compress, size
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.program import run
from generative.store import load_model
from generative.worlds.portraits import render, sample

SHIPPED = Path(__file__).parents[3] / "model_repo" / "portraits"


def tiny() -> Generator:
    torch.manual_seed(0)
    config = StyleGAN2Config(16, z_dim=8, w_dim=8, mapping_layers=2, channel_base=512, channel_max=32)
    return Generator(config).eval().requires_grad_(False)


def low_rank(generator: Generator, rank: int = 2) -> dict[str, Tensor]:
    """A delta whose matrices have this rank; one number at least in everything else."""
    rng = torch.Generator().manual_seed(1)
    delta = {}
    for name, weight in generator.named_parameters():
        if name.startswith("synthesis."):
            flat = weight.flatten(1) if weight.ndim > 1 else weight.reshape(1, -1)
            factors = (torch.randn(n, rank, generator=rng) for n in flat.shape)
            left, right = factors
            delta[name] = 1e-2 * (left @ right.T).reshape(weight.shape)
    return delta


def added(generator: Generator, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tuned = dict(apply(generator, tensors).named_parameters())
    return {name: tuned[name] - weight for name, weight in generator.named_parameters()}


def test_a_delta_of_low_rank_comes_back_but_for_eight_bits() -> None:
    generator = tiny()
    delta = low_rank(generator)
    seen = added(generator, load(save(compress(delta, share=0.5))))
    for name, d in delta.items():
        assert (seen[name] - d).norm() < 0.02 * d.norm(), name
    assert not any(d.any() for name, d in seen.items() if name not in delta)


def test_the_generator_that_was_given_stays_as_it_is() -> None:
    generator = tiny()
    before = {name: t.clone() for name, t in generator.state_dict().items()}
    apply(generator, compress(low_rank(generator)))
    assert all(torch.equal(t, before[name]) for name, t in generator.state_dict().items())


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_file_is_no_larger_than_was_asked_and_better_the_larger_it_is(share: float) -> None:
    generator = tiny()
    delta = low_rank(generator, rank=20)
    tensors = compress(delta, share)
    assert size(tensors) <= share * 4 * sum(d.numel() for d in delta.values())
    assert len(save(tensors)) < size(tensors) + 120 * (len(tensors) + 1)
    lost = [
        sum((added(generator, compress(delta, s))[n] - d).square().sum() for n, d in delta.items())
        for s in (share, 0.8 * share)
    ]
    assert lost[0] < lost[1]


def test_no_change_takes_no_vectors() -> None:
    delta = {name: torch.zeros_like(p) for name, p in tiny().named_parameters()}
    assert all(name in delta for name in compress(delta))


def test_files_of_other_generators_are_refused() -> None:
    generator = tiny()
    tensors = compress(low_rank(generator))
    matrix = "synthesis.b8.conv0.weight"
    wrong: list[tuple[dict[str, Tensor], str]] = [
        ({"synthesis.b99.bias": torch.zeros(3)}, "no weights for synthesis.b99.bias"),
        ({f"{matrix}.left": tensors[f"{matrix}.left"][:-1]}, "do not make a weight"),
        ({f"{matrix}.scale": torch.zeros(2, 2)}, "do not make a weight"),
        ({"synthesis.b8.conv0.bias": torch.zeros(3)}, "conv0.bias must be"),
    ]
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            apply(generator, {**tensors, **change})
    with pytest.raises(ValueError, match="scale is missing"):
        apply(generator, {n: t for n, t in tensors.items() if n != f"{matrix}.scale"})


@pytest.mark.skipif(not (SHIPPED / "weights.safetensors").exists(), reason="no portraits model")
def test_a_tuned_portrait_looks_the_same_from_an_eighth_of_the_shipped_file() -> None:
    generator, _ = load_model(SHIPPED)
    generator.requires_grad_(False)
    tuning = PivotalTuning(generator, None)
    target = render(sample(1, torch.Generator().manual_seed(5)), 64).image
    ws = generator.w_avg.expand(1, generator.num_ws, -1)
    options = TuningOptions(steps=40, learning_rate=1e-3, perceptual=0, stop=None)
    params = run(tuning, tuning.problems(target, ws, options)).params
    tensors = compress(tuning.delta(params, 0))
    assert size(tensors) < 0.15 * (SHIPPED / "weights.safetensors").stat().st_size
    exact, small = tuning.paint(params, ws), apply(generator, tensors).synthesize(ws)
    psnr = 10 * torch.log10(4 / (exact - small).square().mean()).item()
    moved = 10 * torch.log10(4 / (exact - generator.synthesize(ws)).square().mean()).item()
    assert psnr > 45 and moved < 25
