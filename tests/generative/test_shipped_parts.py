"""The parts network that ships, on pictures that it has not seen."""

from pathlib import Path

import pytest
import torch

from generative.generator import sample_z
from generative.metrics.judging import blur, noise
from generative.networks.parts_network import WEIGHTS, PartsNetwork, overlap
from generative.store import load_model
from generative.worlds.portraits import PARTS, Rendered, render, replace, sample

SHIPPED = Path(__file__).parents[2] / "model_repo" / "portraits"
pytestmark = pytest.mark.skipif(
    not (SHIPPED / WEIGHTS).exists(), reason="no parts network in the model folder"
)


@pytest.fixture(scope="module")
def network() -> PartsNetwork:
    return PartsNetwork.load(SHIPPED)


@pytest.fixture(scope="module")
def unseen() -> Rendered:
    return render(sample(150, torch.Generator().manual_seed(987_654)), 64, truth=True)


def scores(labels: torch.Tensor, truth: Rendered) -> torch.Tensor:
    assert truth.parts is not None
    both, either = overlap(labels, truth.parts, len(PARTS)).double()
    return both / either


def test_its_weights_are_small_and_its_labels_those_of_the_world(network: PartsNetwork) -> None:
    assert (SHIPPED / WEIGHTS).stat().st_size < 4e6
    assert network.record.parts == PARTS and tuple(network.record.iou) == PARTS


def test_it_keeps_the_promise_of_its_record_on_new_portraits(network: PartsNetwork, unseen: Rendered) -> None:
    iou = scores(network.label(unseen.image), unseen)
    assert iou.mean() > 0.9 and iou.min() > 0.8
    # Of 150 pictures small parts are few pixels.
    assert (iou - torch.tensor(list(network.record.iou.values()))).abs().max() < 0.05


@pytest.mark.parametrize(
    ("disturb", "least"), [(lambda x: blur(x, 0.6), 0.85), (lambda x: noise(x, 0.05), 0.85)]
)
def test_soft_and_noisy_pictures_have_the_same_parts(network, unseen, disturb, least) -> None:
    assert scores(network.label(disturb(unseen.image)), unseen).mean() > least


def test_a_larger_picture_is_cut_as_well(network: PartsNetwork) -> None:
    large = render(sample(12, torch.Generator().manual_seed(5)), 160, truth=True)
    assert scores(network.label(large.image), large).nanmean() > 0.75


def test_hats_of_any_colour_are_found_and_bare_heads_have_none(network: PartsNetwork) -> None:
    people = sample(40, torch.Generator().manual_seed(6))
    for worn in (0.0, 1.0):
        images = render(replace(people, hat=worn), 64).image
        found = network.mask(images, "hat").flatten(1).sum(1) > 40
        assert (found == bool(worn)).float().mean() > 0.95


def test_samples_of_the_generator_have_faces_where_faces_are(network: PartsNetwork) -> None:
    generator, _ = load_model(SHIPPED)
    with torch.no_grad():
        images = generator(sample_z(range(64), generator), psi=0.7).clamp(-1, 1)
    size = images.shape[-1]
    labels = network.label(images)
    for part, low, high in (
        ("mouth", 0.5, 0.85),
        ("nose", 0.4, 0.75),
        ("shirt", 0.75, 1),
        ("brows", 0.2, 0.6),
    ):
        places = [(one == PARTS.index(part)).nonzero()[:, 0].float().mean() / size for one in labels]
        inside = [low < place < high for place in places]
        assert sum(inside) > 0.93 * len(inside), part
    columns = torch.arange(size, dtype=torch.float32)
    eyes = [(labels == PARTS.index(f"{side} eye")).float() for side in ("left", "right")]
    left, right = ((mask.sum(1) * columns).sum(1) / mask.sum((1, 2)) for mask in eyes)
    assert (left > right).float().mean() > 0.95
