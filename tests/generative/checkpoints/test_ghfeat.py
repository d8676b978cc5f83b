"""GH-Feat's pickles, made by giving networks of ours the names and layouts that its code has for them."""

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.importing import import_checkpoint
from generative.checkpoints.nvlabs import read_nvlabs
from generative.networks.ghfeat_encoder import Encoder, GHFeatEncoderConfig
from generative.networks.stylegan import Generator, StyleGANConfig
from tests.generative.checkpoints.test_tensorflow import official_modules

CHANNELS = (8, 8, 8, 8, 4)  # of 4 to 64 pixels
CONFIG = StyleGANConfig(64, CHANNELS, z_dim=6, w_dim=5, mapping_layers=2, mapping_fmaps=7)
WIDTHS = tuple(2 * C for C in CHANNELS for _ in (0, 1))
SEER = GHFeatEncoderConfig(img_resolution=64, width=4, depths=(1, 2, 1, 1), pyramid=8, style_widths=WIDTHS)
BUDGET = 10**8

Variables = dict[str, np.ndarray]


def random(network: nn.Module) -> nn.Module:
    rng = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if not name.endswith(("blur.kernel", "lod")):
            value.copy_(torch.randn(value.shape, generator=rng).abs() + 0.1)
    return network.eval()


GENERATOR, ENCODER = random(Generator(CONFIG)), random(Encoder(SEER))


def theirs(value: Tensor) -> np.ndarray:
    """Their layouts: (k, k, I, O) and (I, O)."""
    array = value.detach().numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def layer(at: str, module: nn.Module) -> Variables:
    found = {
        f"{at}/Noise/weight": module.apply_noise.weight, f"{at}/bias": module.bias,
        f"{at}/StyleMod/weight": module.style.weight, f"{at}/StyleMod/bias": module.style.bias,
    }  # fmt: skip
    found = {name: theirs(value) for name, value in found.items()}
    if hasattr(module, "const"):
        return found | {f"{at}/const": module.const.detach().numpy()}
    return found | {f"{at}/weight": theirs(module.weight)}


def generator_variables() -> dict[str, Variables]:
    synthesis = {"lod": GENERATOR.synthesis.lod.numpy()}
    for i in range(2 * len(CHANNELS)):
        synthesis[f"noise{i}"] = GENERATOR.synthesis.layer(f"layer{i}").apply_noise.noise.numpy()
    places = ["4x4/Const", "4x4/Conv"]
    places += [f"{r}x{r}/{name}" for r in (8, 16, 32, 64) for name in ("Conv0_up", "Conv1")]
    for i, place in enumerate(places):
        synthesis |= layer(place, GENERATOR.synthesis.layer(f"layer{i}"))
    for i in range(len(CHANNELS)):
        rgb = GENERATOR.synthesis.get_submodule(f"output{i}")
        at = f"ToRGB_lod{len(CHANNELS) - 1 - i}"
        synthesis |= {f"{at}/weight": theirs(rgb.weight), f"{at}/bias": theirs(rgb.bias)}
    mapping = {
        f"Dense{i}/{part}": theirs(getattr(GENERATOR.mapping.get_submodule(f"dense{i}"), part))
        for i in range(2)
        for part in ("weight", "bias")
    }
    own = {"lod": np.zeros((), np.float32), "dlatent_avg": GENERATOR.w_avg.numpy()}
    return {"": own, "synthesis": synthesis, "mapping": mapping}


def norm(at: str, module: nn.Module) -> Variables:
    parts = {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return {f"{at}/batch_norm/{name}": theirs(getattr(module, ours)) for name, ours in parts.items()}


def conv(at: str, module: nn.Module) -> Variables:
    bias = {} if module.bias is None else {f"{at}/bias": theirs(module.bias)}
    return {f"{at}/weight": theirs(module.weight)} | bias


def unit(at: str, block: nn.Module) -> Variables:
    found: Variables = {}
    for name, k in (("Conva", 0), ("Convb", 1), ("Convc", 2)):
        found |= conv(f"{at}/{name}", getattr(block, f"conv{k}"))
        found |= norm(f"{at}/{name}", getattr(block, f"norm{k}"))
    if len(block.shortcut):
        found |= conv(f"{at}/Shortcut", block.shortcut[0]) | norm(f"{at}/Shortcut", block.shortcut[1])
    return found


def encoder_variables() -> Variables:
    found = conv("Conv0", ENCODER.stem) | norm("Conv0", ENCODER.norm) | unit("stage5", ENCODER.res6)
    scopes = ["stage1_unit1", "stage2_unit1", "stage2_unit2", "stage3_unit1", "stage4_unit1"]
    for scope, block in zip(scopes, ENCODER.stages, strict=True):
        found |= unit(scope, block)
    for i in range(3):
        found |= conv(f"fpn/lconv_{i + 3}", ENCODER.laterals[i]) | conv(f"fpn/fconv_{i}", ENCODER.outputs[i])
        found |= conv(f"fuse_conv_{i}", ENCODER.fusions[i])
    for i, scope in enumerate(("LowLevel", "MidLevel", "HighLevel")):
        found |= conv(scope, ENCODER.heads[i].fc) | norm(scope, ENCODER.heads[i].norm)
    return found


def pickled(change=lambda E, Gs, kwargs: None) -> bytes:
    E, Gs, kwargs = encoder_variables(), generator_variables(), {"resolution": 64, "num_channels": 3}
    change(E, Gs, kwargs)
    with official_modules() as modules:
        easy = modules["dnnlib.util"].EasyDict

        def network(name, variables, static_kwargs, components):
            made = modules["dnnlib.tflib.network"].Network()
            made.__dict__ = {
                "version": 3,
                "name": name,
                "static_kwargs": easy(static_kwargs),
                "components": easy(components),
                "build_module_src": "raise AssertionError('only the official loader runs this')",
                "build_func_name": name,
                "variables": list(variables.items()),
            }
            return made

        parts = {name: network(name, Gs[name], kwargs, {}) for name in ("synthesis", "mapping")}
        networks = network("Gs", Gs[""], kwargs, parts), network("E", E, {"size": 64, "depth": 50}, {})
        return pickle.dumps((networks[1], None, None, networks[0]), protocol=4)


def test_both_networks_come_in_bit_for_bit():
    contents = read_nvlabs(pickled(), BUDGET)
    assert contents.format == "ghfeat" and contents.encoder is not None
    for found, config, network in (
        (contents.generator, CONFIG, GENERATOR),
        (contents.encoder, SEER, ENCODER),
    ):
        assert found.config == config
        expected = network.state_dict()
        assert set(found.state) == set(expected)
        for name, value in expected.items():
            assert torch.equal(found.state[name], value), name


def test_a_file_is_imported_with_its_encoder(tmp_path):
    (tmp_path / "ghfeat.pkl").write_bytes(pickled())
    imported = import_checkpoint(tmp_path / "ghfeat.pkl")
    assert (imported.generator.name, imported.encoder.name) == ("stylegan", "ghfeat_encoder")


@pytest.mark.parametrize(
    "change, code",
    [
        (lambda E, Gs, kwargs: kwargs.update(use_pixel_norm=True), "bad_config"),
        (lambda E, Gs, kwargs: E.pop("stage1_unit1/Convc/weight"), "bad_config"),
        (lambda E, Gs, kwargs: E.pop("Conv0/weight"), "missing_keys"),
        (lambda E, Gs, kwargs: E.pop("fpn/fconv_1/bias"), "missing_keys"),
        (lambda E, Gs, kwargs: E.update({"HighLevel/weight": np.ones((32, 64), np.float32)}), "bad_config"),
        (lambda E, Gs, kwargs: E.update({"another": np.ones(2, np.float32)}), "unexpected_keys"),
        (lambda E, Gs, kwargs: Gs["synthesis"].pop("noise3"), "missing_keys"),
        (lambda E, Gs, kwargs: Gs["synthesis"].update(lod=np.float32(9).reshape(())), "bad_config"),
    ],
)
def test_other_files_are_refused(change, code, tmp_path):
    (tmp_path / "other.pkl").write_bytes(pickled(change))
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(tmp_path / "other.pkl")
    assert caught.value.code == code


def test_a_pickle_of_other_networks_is_not_taken_for_it():
    with pytest.raises(CheckpointError) as caught:
        read_nvlabs(pickle.dumps((None,) * 4, protocol=4), BUDGET)
    assert caught.value.code == "unsupported_format"
