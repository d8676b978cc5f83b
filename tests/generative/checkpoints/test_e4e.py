"""Files of e4e, pSp and ReStyle, written by torch in the official layout with small networks."""

import argparse
import io

import pytest
import torch

from generative.checkpoints.allowed import TORCH
from generative.checkpoints.e4e import FORMAT
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.importing import FORMATS
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks import e4e_encoder, psp_encoder
from generative.networks.psp_encoder import StyleMapEncoderConfig
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from tests.generative.checkpoints.conftest import to_rosinality

CONFIG = StyleMapEncoderConfig(num_ws=6, channels=(16, 20, 24, 32), depths=(1, 2, 2, 1))
GENERATOR = StyleGAN2Config(16, z_dim=8, w_dim=32, mapping_layers=2, channel_base=128, channel_max=16)
READERS = {"zip": read_torch_zip, "stream": read_torch_stream}
BUDGET = 2**26  # bytes


def official(encoder, generator=GENERATOR, **opts):
    """What a training run saves, and the state dicts of encoder and generator behind it."""
    torch.manual_seed(0)
    ours, theirs = encoder.state_dict(), Generator(generator).state_dict()
    names = {f"encoder.{name.removeprefix('trunk.')}": t for name, t in ours.items() if name != "latent_avg"}
    names |= {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(7)
        for name in names
        if name.endswith("running_var")
    }
    root = {
        "state_dict": names | {f"decoder.{n}": t for n, t in to_rosinality(theirs, noises=True).items()},
        "latent_avg": torch.randn(32).repeat(6, 1),
        "opts": {"encoder_type": "Encoder4Editing", "stylegan_size": 1024, "device": "cuda:0"} | opts,
    }
    return root, ours, theirs


def saved(root, container="zip"):
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=container == "zip")
    return READERS[container](file.getvalue(), TORCH)


def refusal(root):
    with pytest.raises(CheckpointError) as error:
        FORMAT.read(saved(root), BUDGET)
    return error.value.code, str(error.value)


@pytest.mark.parametrize("container", READERS)
def test_a_file_gives_generator_and_encoder_and_the_mean_that_codes_are_distances_from(container):
    root, encoder, generator = official(e4e_encoder.Encoder(CONFIG))
    kept = saved(root, container)

    assert FORMAT.recognises(kept)
    contents = FORMAT.read(kept, BUDGET)

    assert (contents.format, contents.notes) == ("e4e", ())
    assert (contents.encoder.name, contents.encoder.config) == ("e4e_encoder", CONFIG)
    expected = encoder | {"latent_avg": root["latent_avg"]}
    assert set(contents.encoder.state) == set(expected)
    assert all(torch.equal(t, expected[name]) for name, t in contents.encoder.state.items())
    assert contents.generator.name == "stylegan2"
    assert dict(contents.generator.config.channels) == {4: 16, 8: 16, 16: 8}
    expected = generator | {"mapping.w_avg": root["latent_avg"][0]}
    assert set(contents.generator.state) == set(expected)
    for name, t in contents.generator.state.items():
        torch.testing.assert_close(t, expected[name])


@pytest.mark.parametrize(
    ("encoder_type", "changes", "kind", "format"),
    [
        ("GradualStyleEncoder", {}, psp_encoder, "psp"),
        ("GradualStyleEncoder", {"img_channels": 19}, psp_encoder, "psp"),  # label maps
        ("BackboneEncoder", {"img_channels": 6, "pyramid": False}, psp_encoder, "restyle-psp"),
        (
            "ResNetBackboneEncoder",
            {"img_channels": 6, "pyramid": False, "trunk": "resnet34"},
            psp_encoder,
            "restyle-psp",
        ),
        (
            "ResNetProgressiveBackboneEncoder",
            {"img_channels": 6, "pyramid": False, "trunk": "resnet34"},
            e4e_encoder,
            "restyle-e4e",
        ),
    ],
)
def test_the_class_of_the_encoder_is_read_from_opts_and_the_rest_from_shapes(
    encoder_type, changes, kind, format
):
    config = StyleMapEncoderConfig(**{**vars(CONFIG), **changes})
    root, encoder, _ = official(kind.Encoder(config), encoder_type=encoder_type)

    contents = FORMAT.read(saved(root), BUDGET)

    assert contents.format == format
    assert contents.encoder.config == config
    assert set(contents.encoder.state) == set(encoder)
    kind.Encoder(config).load_state_dict(contents.encoder.state)


def test_arguments_may_be_kept_as_they_were_parsed_and_training_keeps_more_beside():
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    root["opts"] = argparse.Namespace(**root["opts"])
    root |= {
        "global_step": 3,
        "best_val_loss": None,
        "discriminator_state_dict": {"mlp.0.weight": torch.ones(2)},
    }

    assert FORMAT.read(saved(root), BUDGET).encoder.name == "e4e_encoder"


@pytest.mark.parametrize("shape", [(32,), (1, 32), (6, 32)])
def test_the_mean_may_be_one_for_all_layers(shape):
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    root["latent_avg"] = torch.arange(32.0).expand(shape).clone()

    contents = FORMAT.read(saved(root), BUDGET)

    assert torch.equal(contents.encoder.state["latent_avg"], torch.arange(32.0).repeat(6, 1))
    assert torch.equal(contents.generator.state["mapping.w_avg"], torch.arange(32.0))


def test_without_a_mean_codes_stand_for_themselves_and_that_of_the_generator_is_estimated():
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    del root["latent_avg"]

    contents = FORMAT.read(saved(root), BUDGET)

    assert not contents.encoder.state["latent_avg"].any()
    assert "without an average of w" in contents.notes[0]


def test_restyle_needs_its_mean():
    config = StyleMapEncoderConfig(**{**vars(CONFIG), "img_channels": 6})
    root, _, _ = official(psp_encoder.Encoder(config), encoder_type="GradualStyleEncoder")
    del root["latent_avg"]

    code, detail = refusal(root)

    assert (code, "latent_avg" in detail) == ("missing_keys", True)


@pytest.mark.parametrize("opts", [None, {}, {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}, [1]])
def test_an_encoder_whose_class_is_not_known_is_refused(opts):
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))

    assert refusal(root | {"opts": opts})[0] == "bad_config"


def test_encoder_and_generator_must_go_together():
    larger = StyleGAN2Config(32, z_dim=8, w_dim=32, mapping_layers=2, channel_base=128, channel_max=16)
    root, _, _ = official(e4e_encoder.Encoder(CONFIG), larger)

    assert refusal(root)[0] == "bad_config"


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ("decoder.", "rosinality"),
        ("encoder.input_layer.0.weight", "input_layer.0.weight"),
        ("encoder.body.", "four stages"),
        ("encoder.styles.0.linear.weight", "1 to 64 layers"),
    ],
)
def test_what_is_missing_is_named(lacking, named):
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    root["state_dict"] = {name: t for name, t in root["state_dict"].items() if not name.startswith(lacking)}

    code, detail = refusal(root)

    assert code in ("missing_keys", "bad_config")
    assert named in detail


def test_names_that_are_not_known_are_kept_for_the_check_of_all_weights():
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    root["state_dict"]["encoder.stranger"] = torch.zeros(1)

    assert "trunk.stranger" in FORMAT.read(saved(root), BUDGET).encoder.state
    root["state_dict"]["face_pool.weight"] = torch.zeros(1)
    assert refusal(root)[0] == "unexpected_keys"


def test_a_convolution_without_axes_and_a_mean_that_is_no_tensor_are_refused():
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    root["state_dict"]["encoder.input_layer.0.weight"] = torch.zeros(3)
    assert refusal(root)[0] == "wrong_shapes"
    assert refusal(root | {"latent_avg": [0.0]})[0] == "malformed"


@pytest.mark.parametrize(
    "root", [None, 3, "state_dict", [], {}, {"state_dict": None}, {"state_dict": {1: 2}}]
)
def test_other_objects_are_not_recognised(root):
    assert not FORMAT.recognises(root)


def test_no_other_format_recognises_these_files_and_this_none_of_a_generator_alone():
    root, _, _ = official(e4e_encoder.Encoder(CONFIG))
    decoder = {
        n.removeprefix("decoder."): t for n, t in root["state_dict"].items() if n.startswith("decoder.")
    }
    ours, theirs = saved(root), saved({"g_ema": decoder, "latent_avg": root["latent_avg"]})

    assert [f.name for f in {*FORMATS, FORMAT} if f.recognises(ours)] == ["e4e"]
    assert [f.name for f in {*FORMATS, FORMAT} if f.recognises(theirs)] == ["rosinality"]
