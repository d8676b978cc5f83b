import json

import pytest
import torch
from pydantic import ValidationError

from generative.cards import About, read_card
from generative.checkpoints import CheckpointError, import_checkpoint
from generative.editing.files import load_directions
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.statistics import sample_w, w_statistics
from generative.store import load_model, load_statistics, save_model

CONFIG = StyleGAN2Config(
    img_resolution=16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=128, channel_max=16, c_dim=3
)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(CONFIG).eval()


def test_a_saved_model_comes_back_as_it_was(tmp_path, generator):
    about = About(name="tiny", licence="Apache-2.0", images_seen=7, metrics={"fid": 3.5})
    written = save_model(tmp_path / "tiny", generator, about)

    loaded, card = load_model(tmp_path / "tiny")

    assert card == written
    assert (card.name, card.classes, card.images_seen, card.metrics) == ("tiny", 3, 7, {"fid": 3.5})
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for name, value in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_half_precision_halves_the_file_and_does_not_show(tmp_path, generator):
    full = save_model(tmp_path / "full", generator, About(name="a"))
    half = save_model(tmp_path / "half", generator, About(name="a"), half=True)
    assert half.size_bytes < 0.6 * full.size_bytes
    assert half.precision == "float16"

    z, c = torch.randn(2, 12, generator=torch.Generator().manual_seed(0)), torch.eye(3)[:2]
    exact, rounded = generator(z, c), load_model(tmp_path / "half")[0](z, c)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).abs().max() < 0.005 * exact.abs().max()


def test_weights_beyond_half_precision_are_not_cut(tmp_path, generator):
    with torch.no_grad():
        generator.mapping.fc0.weight[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"mapping\.fc0\.weight"):
        save_model(tmp_path, generator, About(name="a"), half=True)


def test_the_card_says_what_the_network_is_in_plain_json(tmp_path, generator):
    save_model(tmp_path, generator, About(name="tiny"))
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o777 == 0o644  # a service may be another user
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["spaces"] == ["z", "w", "w+", "s", "p", "p+"]
    styles = generator.styles(torch.zeros(1, 6, 10))
    assert [(layer["name"], layer["channels"]) for layer in card["layers"]] == [
        (name, value.shape[1]) for name, value in styles.items()
    ]
    assert card["style_size"] == sum(value.shape[1] for value in styles.values())
    assert card["architecture"]["img_resolution"] == card["resolution"] == 16


def test_statistics_and_directions_lie_beside_the_weights(tmp_path, generator):
    save_model(tmp_path, generator, About(name="tiny"))
    expected = w_statistics(sample_w(generator))
    assert torch.equal(load_statistics(tmp_path).components, expected.components)
    assert "sefa_coarse_0" in load_directions(tmp_path)


def test_the_weights_file_alone_can_be_imported(tmp_path, generator):
    save_model(tmp_path, generator, About(name="tiny"), half=True)
    assert import_checkpoint(tmp_path / "weights.safetensors").generator.config == CONFIG


def test_weights_that_are_not_those_of_the_card_are_refused(tmp_path, generator):
    save_model(tmp_path, generator, About(name="tiny"))
    path = tmp_path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not what its card describes"):
        load_model(tmp_path)


def test_saving_twice_gives_the_same_bytes(tmp_path, generator):
    for folder in ("a", "b"):
        save_model(tmp_path / folder, generator, About(name="tiny"))
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), (
            path.name
        )


@pytest.mark.parametrize("name", ["Tiny", "", "a/b", "../x", "-a", "a" * 65])
def test_names_that_requests_cannot_say_are_refused(name):
    with pytest.raises(ValidationError):
        About(name=name)


def test_cards_with_unknown_keys_are_refused(tmp_path, generator):
    save_model(tmp_path, generator, About(name="tiny"))
    card = json.loads((tmp_path / "card.json").read_text()) | {"magic": 1}
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValidationError, match="magic"):
        read_card(tmp_path)
