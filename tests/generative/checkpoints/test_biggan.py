"""The reader of ajbrock's BigGAN: every form that its files have, and what it refuses."""

import collections
import io
import re

import pytest
import torch
from torch import nn

from generative.checkpoints import biggan as reader
from generative.checkpoints import biggan_deep_hf
from generative.checkpoints.allowed import TORCH, inert
from generative.checkpoints.contents import Folder
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.torch_files import read_torch_stream, read_torch_zip
from generative.networks import biggan, biggan_deep
from generative.networks.biggan import BigGANConfig
from generative.networks.biggan_deep import BigGANDeepConfig

BUDGET = 2**24
MODULES = {"biggan": biggan, "biggan_deep": biggan_deep}
SMALL = BigGANConfig(12, 5, (16, 8, 8), shared_dim=6, attention=(0,))
UNSHARED = BigGANConfig(7, 5, (16, 8, 8), shared_dim=0, hierarchical=False)
PLAIN = BigGANConfig(7, 5, (16, 8, 8), shared_dim=6, hierarchical=False)
DEEP = BigGANDeepConfig(
    7, 5, (32, 32, 32, 32, 16, 16, 8, 8, 4), shared_dim=6, attention=(3,)
)  # official, at 64


def saved(root, old=False, allowed=TORCH):
    """What our readers make of the file that torch writes."""
    file = io.BytesIO()
    torch.save(root, file, _use_new_zipfile_serialization=not old)
    return (read_torch_stream if old else read_torch_zip)(file.getvalue(), allowed)


def official(config, seed=0, norms="plain"):
    """A state dict with the official names, random, for a network of ours."""
    torch.manual_seed(seed)
    module = (biggan_deep if isinstance(config, BigGANDeepConfig) else biggan).Generator(config)
    theirs = collections.OrderedDict()
    for name, value in module.state_dict().items():
        value = torch.rand_like(value) + 0.5 if name.endswith(".var") else torch.randn_like(value)
        name = re.sub(r"^blocks\.(\d+)\.", r"blocks.\1.0.", name)
        name = re.sub(r"^attention\.(\d+)\.", r"blocks.\1.1.", name)
        name = name.replace("output_norm.", "output_layer.0.").replace("rgb.", "output_layer.2.")
        table = name == "shared.weight" or (not config.shared_dim and re.search(r"bn\d\.\w+\.weight", name))
        theirs[name] = value.T.contiguous() if table else value
        layer, _, part = name.rpartition(".")
        if part == "weight" and not table:
            theirs[f"{layer}.u0"] = torch.randn(1, len(value))
            theirs[f"{layer}.sv0"] = torch.ones(1)
    return collections.OrderedDict(renamed for item in theirs.items() for renamed in norm(*item, norms))


def norm(name, value, form):
    """A statistic as the three kinds of BatchNorm store it; "standing" ones are sums over four batches."""
    layer, _, part = name.rpartition(".")
    if part not in ("mean", "var"):
        return [(name, value)]
    if form == "plain":
        return [(f"{layer}.stored_{part}", value)]
    if form == "synchronised":
        counter = [(f"{layer}.bn.num_batches_tracked", torch.tensor(9))] if part == "var" else []
        return [(f"{layer}.bn.running_{part}", value), *counter]
    times = {"standing": 4.0, "running": 0.0}[form]
    counter = [(f"{layer}.bn.accumulation_counter", torch.tensor([times]))] if part == "var" else []
    return [(f"{layer}.bn.stored_{part}", value * (times or 1)), *counter]


def read(root):
    assert reader.recognises(root)
    return reader.read(root, BUDGET)


def load(contents):
    """The generator, which takes exactly this state."""
    network = contents.generator
    generator = MODULES[network.name].Generator(network.config)
    generator.load_state_dict(network.state)
    return generator.eval().requires_grad_(False)


def picture(contents):
    generator = load(contents)
    z = torch.linspace(-1, 1, generator.z_dim)[None]
    return generator(z, torch.eye(generator.c_dim)[:1])


def refusal(root):
    with pytest.raises(CheckpointError) as error:
        read(root)
    return error.value.code


def folder(**changes):
    """What a training run leaves, with G and G_ema that differ."""
    optimiser = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
    discriminator = {"embed.weight": torch.zeros(5, 8), "linear.weight": torch.zeros(1, 8)}
    run = {"itr": 7, "best_FID": 9.5, "config": {"BN_eps": 1e-4, "SN_eps": 1e-6, "G_nl": "inplace_relu"}}
    members = {
        "G.pth": official(SMALL, seed=1),
        "G_ema.pth": official(SMALL, seed=2),
        "D.pth": discriminator,
        "G_optim.pth": optimiser,
        "D_optim.pth": optimiser,
        "state_dict.pth": run,
    }
    members |= changes
    return Folder({name: saved(member) for name, member in members.items() if member is not None})


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("config", [SMALL, UNSHARED, PLAIN, DEEP], ids=["hier", "unshared", "plain", "deep"])
def test_the_architecture_is_read_from_shapes(config, old):
    contents = read(saved(official(config), old))
    assert contents.generator.config == config
    assert contents.format == "ajbrock-biggan"
    assert contents.notes == ("without a state_dict.pth: SN_eps is taken to be 1e-06, BN_eps 1e-05",)
    load(contents)


def test_every_kind_of_batch_norm_gives_the_same_picture():
    forms = ["plain", "running", "standing", "synchronised"]
    pictures = [picture(read(saved(official(SMALL, norms=form)))) for form in forms]
    for other in pictures[1:]:
        torch.testing.assert_close(other, pictures[0])


def test_a_synchronised_batch_norm_is_noted():
    notes = read(saved(official(SMALL, norms="synchronised"))).notes
    assert any("synchronised" in note for note in notes)


def test_weights_without_spectral_normalisation_are_taken_as_they_are():
    state = official(SMALL)
    plain = {name: value for name, value in state.items() if not name.endswith((".u0", ".sv0"))}
    ours = read(saved(plain)).generator.state
    assert torch.equal(ours["blocks.0.conv1.weight"], state["blocks.0.0.conv1.weight"])
    normalised = read(saved(state)).generator.state["blocks.0.conv1.weight"]
    ratio = state["blocks.0.0.conv1.weight"] / normalised
    assert ratio.std() < 1e-4 * ratio.mean().abs()
    assert torch.linalg.matrix_norm(normalised.flatten(1), 2) >= 1 - 1e-5  # sigma is never over-estimated


def test_further_singular_vectors_are_left_alone():
    state = official(SMALL) | {"linear.u1": torch.zeros(1, 256), "linear.sv1": torch.zeros(1)}
    assert picture(read(saved(state))).equal(picture(read(saved(official(SMALL)))))


def test_half_precision_becomes_single():
    halves = {name: value.half() for name, value in official(SMALL).items()}
    assert all(value.dtype == torch.float32 for value in read(saved(halves)).generator.state.values())


def test_of_a_folder_the_moving_average_is_served_with_the_settings_beside_it():
    contents = read(folder())
    assert contents.generator.config.bn_eps == 1e-4
    assert picture(contents).equal(picture(read(folder(**{"G.pth": None}))))
    assert not picture(contents).equal(picture(read(folder(**{"G_ema.pth": None}))))
    assert contents.notes == (
        "G_ema.pth, of 2 generators in the folder: by its name it is the moving average",
    )


@pytest.mark.parametrize(
    ("name", "average"),
    [
        ("G_ema.pth", True),
        ("run/G_ema_best0.pth", True),
        ("ema", True),
        ("G.pth", False),
        ("cinema.pth", False),
        ("run_ema/G.pth", False),
    ],
)
def test_a_name_says_ema_as_a_word(name, average):
    contents = read(Folder({name: saved(official(SMALL))}))
    assert ("moving average" in contents.notes[0]) == average


def test_settings_hold_modules_when_the_training_script_wrote_them():
    settings = {"config": {"G_activation": nn.ReLU(inplace=True), "BN_eps": 1e-4}}
    allowed = TORCH | {
        "torch.nn.modules.activation.ReLU": inert("torch.nn.modules.activation.ReLU"),
        "__builtin__.set": lambda *_: set(),
    }
    root = Folder({"G.pth": saved(official(SMALL)), "state_dict.pth": saved(settings, allowed=allowed)})
    assert read(root).generator.config.bn_eps == 1e-4


@pytest.mark.parametrize(
    ("stages", "depth"),
    [((4, 4, 4, 4), 2), ((16, 16, 8, 4, 2, 1), 2), ((16, 16, 8, 8, 4, 2, 1), 2), ((4, 4, 4, 4), 3)],
)
def test_the_depth_of_official_architectures_is_known_by_their_channels(stages, depth):
    channels = [8 * times for times in stages[:-1] for _ in range(depth)] + [8 * stages[-1]]
    config = BigGANDeepConfig(7, 5, tuple(channels), shared_dim=6, depth=depth)
    if channels[0] != channels[-1]:  # official blocks narrow in the second of two
        assert config.img_resolution == 2 ** (len(stages) + 1)
    assert read(saved(official(config))).generator.config == config


def test_the_depth_of_others_is_in_their_settings():
    config = BigGANDeepConfig(7, 5, (16, 16, 16, 8, 8), shared_dim=6, depth=4)
    assert refusal(saved(official(config))) == "bad_config"
    files = {"G.pth": official(config), "G_ema.pth": None, "state_dict.pth": {"config": {"G_depth": 4}}}
    assert read(folder(**files)).generator.config == config


@pytest.mark.parametrize(
    "config",
    [
        {"G_nl": "leaky_relu"},
        {"resolution": 128},
        {"resolution": []},
        {"BN_eps": 0.0},
        {"BN_eps": "none"},
        {"SN_eps": 0.0},
        {"SN_eps": "1e-6"},
        {"SN_eps": float("nan")},
    ],
)
def test_settings_that_no_generator_has_are_refused(config):
    assert refusal(folder(**{"state_dict.pth": {"config": config}})) == "bad_config"


def test_a_depth_that_does_not_go_with_the_blocks_is_refused():
    for depth in (3, 0, "two", None):
        run = {"config": {"G_depth": depth}}
        assert refusal(folder(**{"G_ema.pth": official(DEEP), "state_dict.pth": run})) == "bad_config"


def changed(config, **changes):
    state = official(config)
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            del state[key]
        else:
            state[key] = value
    return saved(state)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"blocks__1__0__conv2__weight": None}, "missing_keys"),
        ({"blocks__7__0__conv1__weight": torch.zeros(8, 8, 3, 3)}, "missing_keys"),
        ({"linear__weight": torch.zeros(256)}, "wrong_shapes"),
        ({"shared__weight": torch.zeros(5)}, "wrong_shapes"),
        ({"shared__weight": torch.zeros(5, 3)}, "bad_config"),
        ({"blocks__0__0__conv1__weight": torch.zeros(8, 0, 3, 3)}, "bad_config"),
        ({"linear__u0": torch.zeros(1, 3)}, "wrong_shapes"),
        ({"linear__u0": torch.zeros(1, 256)}, "non_finite"),
        ({"output_layer__0__stored_var": torch.full((8,), -1.0)}, "non_finite"),
        ({"output_layer__0__bn__stored_var": torch.ones(8)}, "malformed"),
        ({"output_layer__0__accumulation_counter": torch.ones(2)}, "wrong_shapes"),
        ({"linear__bias": torch.full((256,), float("nan"))}, "non_finite"),
        ({"linear__bias": "text"}, "malformed"),
    ],
)
def test_broken_generators_are_refused(changes, code):
    assert refusal(changed(SMALL, **changes)) == code


def test_an_unknown_tensor_stays_for_the_check_against_the_architecture():
    state = read(changed(SMALL, surprise=torch.ones(2))).generator.state
    assert state["surprise"].equal(torch.ones(2))


def test_tensors_beyond_the_budget_are_not_made():
    with pytest.raises(CheckpointError) as error:
        reader.read(saved(official(SMALL)), 1000)
    assert error.value.code == "too_large"


@pytest.mark.parametrize(
    "root",
    [
        None,
        3,
        [],
        {},
        "text",
        {3: 4},
        {"linear.weight": 1},
        dict.fromkeys(reader.NEEDED, 1),
        Folder(),
        Folder({"a": b"bytes"}),
        Folder({"a": None}),
        Folder({"a": {"config": {}}}),
    ],
    ids=str,
)
def test_what_is_no_generator_is_not_recognised(root):
    assert not reader.recognises(root)


def test_a_folder_with_something_foreign_is_not_recognised():
    assert reader.recognises(folder())
    assert reader.recognises(Folder({**folder(), "log.jsonl": b"{}"}))
    assert not reader.recognises(folder(other={"g_ema": {}}))


def test_only_one_format_recognises_it():
    for root in (saved(official(SMALL)), saved(official(DEEP)), folder()):
        assert not biggan_deep_hf.recognises(root)
