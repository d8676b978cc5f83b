"""Files of ALAE: which networks are taken from them, and what is refused."""

import io

import pytest
import torch

from generative.checkpoints.alae import FORMAT
from generative.checkpoints.allowed import TENSORS
from generative.checkpoints.contents import Folder
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.torch_files import read_torch_zip
from generative.networks.alae import ALAEConfig, Generator
from generative.networks.alae_encoder import ALAEEncoderConfig, Encoder

CONFIG = ALAEConfig(16, channels=(12, 8, 6), latent_dim=10, mapping_layers=2)
ENCODER = ALAEEncoderConfig(16, channels=(6, 8, 12, 12), w_dim=10)
BUDGET = 10**6


def part(module, prefix):
    state = module.state_dict()
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def official():
    """The object that the official code saves: twice every network, the second time smoothed."""
    root = {"models": {}, "auxiliary": {"encoder_optimizer": {"state": {}}}}
    for seed, suffix in enumerate(("", "_s")):
        torch.manual_seed(seed)
        generator, encoder = Generator(CONFIG), Encoder(ENCODER)
        generator.dlatent_avg.buff += seed + 1
        models = {
            "mapping_fl": part(generator, "mapping_fl."),
            "generator": part(generator, "decoder.")
            | {"decode_block.0.blur.weight": torch.ones(12, 1, 3, 3)},
            "dlatent_avg": part(generator, "dlatent_avg."),
            "mapping_tl": part(encoder, "mapping_tl."),
            "discriminator": {
                k: v for k, v in encoder.state_dict().items() if not k.startswith("mapping_tl.")
            },
        }
        root["models"] |= {name + suffix: state for name, state in models.items()}
    return root


def saved(root):
    """The same as it comes out of a file."""
    file = io.BytesIO()
    torch.save(root, file)
    return read_torch_zip(file.getvalue(), TENSORS)


def refusal(root):
    with pytest.raises(CheckpointError) as error:
        FORMAT.read(saved(root), BUDGET)
    return error.value.code


def test_the_smoothed_networks_are_taken_with_the_running_mean_of_w():
    models = official()["models"]
    contents = FORMAT.read(saved({"models": models}), BUDGET)

    assert contents.generator.config == CONFIG
    assert contents.encoder.config == ENCODER
    state = contents.generator.state
    assert set(state) == set(Generator(CONFIG).state_dict())
    assert set(contents.encoder.state) == set(Encoder(ENCODER).state_dict())
    name = "decode_block.1.conv_1.weight"
    assert torch.equal(state[f"decoder.{name}"], models["generator_s"][name])
    assert torch.equal(state["dlatent_avg.buff"], models["dlatent_avg"]["buff"])
    name = "encode_block.1.conv_1.weight"
    assert torch.equal(contents.encoder.state[name], models["discriminator_s"][name])


@pytest.mark.parametrize("path", ["training_artifacts/x/model_final.pth\n", "C:\\x\\model_final.pth"])
def test_of_a_folder_the_newest_file_is_taken(path):
    older = official()
    older["models"]["dlatent_avg"] = {"buff": torch.zeros(6, 10)}
    files = {"model_tmp_lod1.pth": saved(older), "model_final.pth": saved(official()), "ffhq.yaml": b"MODEL:"}
    folder = Folder(files | {"last_checkpoint": path.encode()})
    assert FORMAT.recognises(folder)
    assert FORMAT.read(folder, BUDGET).generator.state["dlatent_avg.buff"].min() == 1


@pytest.mark.parametrize(
    "root",
    [
        None,
        [],
        b"",
        {},
        {"models": []},
        {"models": {"generator_s": None}},
        {"models": {"generator_s": {"layer0.const": 1}}},
        {"g_ema": {"input.input": 1}},
        Folder({"model_final.pth": {"models": {"generator_s": {"decode_block.0.style_1.weight": 1}}}}),
        Folder({"last_checkpoint": b"\xff/gone.pth"}),
        Folder({"last_checkpoint": {}}),
    ],
    ids=lambda root: str(root)[:40],
)
def test_other_files_are_not_recognised(root):
    assert not FORMAT.recognises(root)


def test_a_file_with_one_set_of_networks_is_recognised_and_lacks_the_smoothed_ones():
    root = official()
    root["models"] = {name: state for name, state in root["models"].items() if not name.endswith("_s")}
    assert FORMAT.recognises(saved(root))
    assert refusal(root) == "missing_keys"


def without(network, key):
    def change(models):
        del models[network][key]

    return change


def shaped(network, key, *shape):
    return lambda models: models[network].update({key: torch.zeros(shape)})


@pytest.mark.parametrize(
    "change, code",
    [
        (without("generator_s", "to_rgb.1.to_rgb.weight"), "missing_keys"),
        (without("mapping_fl_s", "map_blocks.0.fc.weight"), "missing_keys"),
        (shaped("generator_s", "to_rgb.0.to_rgb.weight", 3), "bad_config"),
        (shaped("generator_s", "to_rgb.99999999.to_rgb.weight", 3, 6, 1, 1), "missing_keys"),
        (shaped("mapping_tl_s", "map_blocks.0.weight", 0, 0), "bad_config"),
        (lambda models: models.update(dlatent_avg=None), "missing_keys"),
        (lambda models: models["generator_s"].update(const="text"), "malformed"),
        (shaped("discriminator_s", "from_rgb.3.from_rgb.weight", 6, 3, 1, 1), "missing_keys"),
    ],
)
def test_networks_of_another_build_are_refused(change, code):
    root = official()
    change(root["models"])
    assert refusal(root) == code


def test_keys_that_are_not_known_are_kept_for_the_check_against_the_architecture():
    root = official()
    root["models"]["generator_s"]["fc.weight"] = torch.zeros(2)
    assert "decoder.fc.weight" in FORMAT.read(saved(root), BUDGET).generator.state


def test_both_networks_together_stay_within_the_budget():
    root = saved(official())
    contents = FORMAT.read(root, BUDGET)
    states = (contents.generator.state, contents.encoder.state)
    size = sum(4 * value.numel() for state in states for value in state.values())
    FORMAT.read(root, size)
    with pytest.raises(CheckpointError, match="larger"):
        FORMAT.read(root, size - 1)
