import re
from collections import OrderedDict

import pytest
import torch

from generative.checkpoints import CheckpointError
from generative.checkpoints.contents import Folder
from generative.checkpoints.genforce import PGGAN, STYLEGAN, STYLEGAN2
from generative.checkpoints.idinvert import FORMAT as IDINVERT
from generative.networks import idinvert, idinvert_encoder, pggan, stylegan
from tests.generative.networks.genforce_vectors import BUDGET, built, randomised, saved

FORMATS = {"pggan": PGGAN, "stylegan": STYLEGAN, "stylegan2": STYLEGAN2, "idinvert": IDINVERT}
PGGAN_CONFIG = pggan.PGGANConfig(16, channels=(12, 8, 6), z_dim=10)
FIELDS = {
    "img_resolution": 16,
    "channels": (12, 8, 6),
    "z_dim": 10,
    "w_dim": 9,
    "mapping_layers": 2,
    "mapping_fmaps": 11,
}
STYLEGAN_CONFIG = stylegan.StyleGANConfig(**FIELDS)
IDINVERT_CONFIG = idinvert.IdInvertConfig(**FIELDS)
ENCODER_CONFIG = idinvert_encoder.IdInvertEncoderConfig(16, channels=(4, 8, 8), w_dim=9)


def state_of(module):
    """Our state dict with the one name that differs from genforce's."""
    state = randomised(module).state_dict()
    return OrderedDict((name.replace("mapping.w_avg", "truncation.w_avg"), t) for name, t in state.items())


def pggan_state(**changes):
    config = pggan.PGGANConfig(**(vars(PGGAN_CONFIG) | changes))
    return state_of(pggan.Generator(config))


def stylegan_state(**changes):
    return state_of(stylegan.Generator(stylegan.StyleGANConfig(**FIELDS | changes)))


def stylegan2_state():
    """The names and shapes of a network of 8 pixels."""
    shapes = {
        "mapping.dense0.weight": (9, 10),
        "mapping.dense0.bias": (9,),
        "truncation.w_avg": (9,),
        "synthesis.early_layer.const": (1, 8, 4, 4),
        "synthesis.upsample.kernel": (1, 1, 4, 4),
        "synthesis.layer1.filter.kernel": (1, 1, 4, 4),
    }
    for i, (inputs, outputs, size) in enumerate([(8, 8, 4), (8, 6, 8), (6, 6, 8)]):
        shapes |= _modulated(f"synthesis.layer{i}", inputs, outputs, 3)
        shapes |= {f"synthesis.layer{i}.noise_strength": (), f"synthesis.layer{i}.noise": (1, 1, size, size)}
    for i, inputs in enumerate([8, 6]):
        shapes |= _modulated(f"synthesis.output{i}", inputs, 3, 1)
    rng = torch.Generator().manual_seed(0)
    return OrderedDict((name, torch.randn(shape, generator=rng)) for name, shape in shapes.items())


def _modulated(name, inputs, outputs, kernel):
    return {
        f"{name}.weight": (outputs, inputs, kernel, kernel),
        f"{name}.bias": (outputs,),
        f"{name}.style.weight": (inputs, 9),
        f"{name}.style.bias": (inputs,),
    }


def idinvert_state(psi=0.7, dense="fc", fused=(), **changes):
    """As genforce/idinvert_pytorch names it."""
    state = state_of(idinvert.Generator(idinvert.IdInvertConfig(**FIELDS | changes)))
    layers = 2 * len(changes.get("channels", FIELDS["channels"]))
    state["truncation.truncation"] = torch.full((1, layers, 1), psi)
    return older(state, dense, fused)


def older(state, dense, fused=()):
    """Names of genforce/genforce -> those from before; `fused` layers as (k, k, I, O)."""
    names = (
        (r"(mapping\.dense\d+)\.weight", rf"\1.{dense}.weight"),
        (r"(mapping\.dense\d+)\.bias", r"\1.wscale.bias"),
        (r"(synthesis\.layer\d+)\.style\.weight", rf"\1.epilogue.style_mod.dense.{dense}.weight"),
        (r"(synthesis\.layer\d+)\.style\.bias", r"\1.epilogue.style_mod.dense.wscale.bias"),
        (r"(synthesis\.layer\d+)\.(bias|apply_noise\.\w+)", r"\1.epilogue.\2"),
        (r"((?:synthesis\.)?(?:layer|output)\d+)\.weight", r"\1.conv.weight"),
        (r"((?:layer|output)\d+)\.bias", r"\1.wscale.bias"),
    )
    theirs = OrderedDict()
    for name, value in state.items():
        if name in {f"synthesis.layer{i}.weight" for i in fused}:
            theirs[name] = value.permute(2, 3, 1, 0).contiguous()
            continue
        for pattern, replacement in names:
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, replacement, name)
                break
        theirs[name] = value
    return theirs


def encoder_state(config=ENCODER_CONFIG):
    state = state_of(idinvert_encoder.Encoder(config))
    counters = [name.replace("running_var", "num_batches_tracked") for name in state if "running_var" in name]
    return state | {name: torch.tensor(7) for name in counters}


STATES = {
    "pggan": pggan_state,
    "stylegan": stylegan_state,
    "stylegan2": stylegan2_state,
    "idinvert": idinvert_state,
}
LAYOUTS = {
    "zoo": lambda state: {
        "generator_smooth": state,
        "generator": {},
        "discriminator": {"lod": torch.zeros(1)},
    },
    "without an average": lambda state: {"generator": state},
    "training": lambda state: {
        "models": {"generator": {}, "generator_smooth": state, "discriminator": {}},
        "running_metadata": {"iter": 7},
        "optimizers": {"generator": {"state": {}}},
        "learning_rates": {},
    },
    "bare": lambda state: state,
}


def read(family, root):
    root = saved(root)
    assert FORMATS[family].recognises(root)
    return FORMATS[family].read(root, BUDGET)


def refused(family, root):
    """The code of the refusal."""
    with pytest.raises(CheckpointError) as caught:
        built(read(family, root).generator)
    return caught.value.code


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", STATES)
def test_every_layout_gives_the_same_generator(family, layout):
    expected = read(family, STATES[family]()).generator

    contents = read(family, LAYOUTS[layout](STATES[family]()))

    assert contents.format == f"genforce-{family}" == FORMATS[family].name
    assert contents.generator.config == expected.config
    assert contents.generator.state.keys() == expected.state.keys()
    assert all(torch.equal(t, expected.state[name]) for name, t in contents.generator.state.items())
    built(contents.generator)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", STATES)
def test_no_other_format_recognises_it(family, layout):
    root = saved(LAYOUTS[layout](STATES[family]()))

    assert [name for name, known in FORMATS.items() if known.recognises(root)] == [family]


NOTHING = (
    None,
    b"",
    [],
    {},
    {1: 2},
    {"generator": 3, "models": []},
    {"models": {"generator_smooth": {"decode_block.0.const": 1}}},
    {"generator": {"lod": 0, "layer0.weight": None}},
    {(): {}},
    Folder(),
    Folder({"a": b"", "b": {"generator": {}}, "c": None}),
)


@pytest.mark.parametrize("root", NOTHING, ids=range(len(NOTHING)))
def test_what_holds_no_generator_of_genforce_is_not_recognised(root):
    assert not any(known.recognises(root) for known in FORMATS.values())


def test_discriminators_and_lone_encoders_are_not_recognised():
    discriminator = {"lod": torch.zeros([]), "input0.weight": torch.zeros(4, 3, 1, 1)}
    for root in (saved(discriminator), saved(encoder_state())):
        assert not any(known.recognises(root) for known in FORMATS.values())


def test_the_sizes_of_pggan_are_read_from_shapes():
    assert read("pggan", pggan_state()).generator.config == PGGAN_CONFIG


def test_fused_layers_of_pggan_show_in_their_shapes():
    network = read("pggan", pggan_state(fused_scale=True)).generator

    assert network.config.fused_scale
    built(network)


def test_the_sizes_of_stylegan_are_read_from_shapes_and_fused_scale_is_assumed():
    contents = read("stylegan", stylegan_state(c_dim=4))

    assert contents.generator.config == stylegan.StyleGANConfig(**FIELDS, c_dim=4)
    assert contents.notes == ("fused_scale is not in the file; 'auto', the official default",)


def test_stylegan2_has_our_names_and_numbers():
    theirs = stylegan2_state()
    ours = read("stylegan2", theirs).generator.state

    def filtered(name):
        return theirs[f"synthesis.{name}.kernel"][0, 0] / 4

    assert torch.equal(ours["synthesis.b8.conv0.weight"], theirs["synthesis.layer1.weight"].flip((2, 3)))
    assert torch.equal(ours["synthesis.b8.conv1.weight"], theirs["synthesis.layer2.weight"])
    assert torch.equal(ours["synthesis.b4.torgb.affine.bias"], theirs["synthesis.output0.style.bias"] + 1)
    assert torch.equal(ours["synthesis.b8.conv0.resample_filter"], filtered("layer1.filter"))
    assert torch.equal(ours["synthesis.b8.resample_filter"], filtered("upsample"))


@pytest.mark.parametrize("dense", ["fc", "linear"])
def test_older_names_are_the_same_stylegan(dense):
    state = stylegan_state()
    contents = read("stylegan", older(state, dense))

    assert contents.generator.config == STYLEGAN_CONFIG
    assert contents.notes == ()
    assert torch.equal(
        built(contents.generator)(torch.ones(1, 10)),
        built(read("stylegan", state).generator)(torch.ones(1, 10)),
    )


def test_older_names_are_the_same_pggan():
    state = pggan_state()
    network = read("pggan", older(state, "linear")).generator

    assert network.config == PGGAN_CONFIG
    assert all(torch.equal(t, state[name]) for name, t in network.state.items())


def test_the_constant_may_be_called_first_layer():
    state = older(stylegan_state(), "linear")
    state["synthesis.layer0.first_layer"] = state.pop("synthesis.layer0.const")

    built(read("stylegan", state).generator)


@pytest.mark.parametrize(("fused", "scale"), [((), "auto"), ((2, 4), True)])
def test_older_names_show_which_layers_are_fused(fused, scale):
    network = read("idinvert", idinvert_state(fused=fused)).generator

    assert network.config.fused_scale == scale
    expected = read("idinvert", idinvert_state()).generator.state
    assert all(torch.equal(t, expected[name]) for name, t in network.state.items())


def test_older_names_of_large_networks_are_fused_from_128_pixels():
    channels = (4,) * 6
    fused, plain = (
        read("idinvert", idinvert_state(fused=layers, img_resolution=128, channels=channels))
        for layers in ((10,), ())
    )

    assert (fused.generator.config.fused_scale, plain.generator.config.fused_scale) == ("auto", False)


def test_another_choice_of_fused_layers_is_refused():
    assert refused("idinvert", idinvert_state(fused=(4,))) == "bad_config"


def test_idinvert_truncates_as_it_is_asked_to_and_the_psi_of_the_file_is_noted():
    contents = read("idinvert", idinvert_state(psi=0.7))

    assert contents.generator.config == IDINVERT_CONFIG
    assert "psi 0.7, 0.7, 0.7, 0.7, 0.7, 0.7" in contents.notes[0]
    assert not any("truncation" in name for name in contents.generator.state)


def test_idinvert_comes_with_its_encoder():
    root = Folder({"e.pth": saved(encoder_state()), "g.pth": saved(idinvert_state()), "vgg16.pth": b"x"})

    assert [name for name, known in FORMATS.items() if known.recognises(root)] == ["idinvert"]
    contents = IDINVERT.read(root, BUDGET)
    assert contents.encoder.config == ENCODER_CONFIG
    assert built(contents.encoder).num_ws == built(contents.generator).num_ws


def test_two_pairs_in_one_folder_are_not_recognised():
    pair = {"e.pth": saved(encoder_state()), "g.pth": saved(idinvert_state())}

    assert not IDINVERT.recognises(Folder(pair | {"other.pth": pair["g.pth"]}))


def test_an_encoder_of_another_generator_is_refused():
    other = idinvert_encoder.IdInvertEncoderConfig(16, channels=(4, 8, 8), w_dim=8)
    root = Folder({"e.pth": saved(encoder_state(other)), "g.pth": saved(idinvert_state())})

    with pytest.raises(CheckpointError) as caught:
        IDINVERT.read(root, BUDGET)
    assert caught.value.code == "bad_config"


@pytest.mark.parametrize("family", STATES)
def test_keys_that_are_not_understood_are_kept_under_their_names(family):
    state = STATES[family]() | {"synthesis.layer1.unheard_of": torch.zeros(1), "mapping.more": torch.zeros(1)}

    assert {"mapping.more", "synthesis.layer1.unheard_of"} <= read(family, state).generator.state.keys()


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("pggan", "layer0.weight"),
        ("pggan", "layer4.bias"),
        ("stylegan", "mapping.dense0.weight"),
        ("stylegan", "synthesis.layer0.style.weight"),
        ("stylegan", "synthesis.output0.weight"),
        ("stylegan2", "synthesis.layer1.bias"),
        ("stylegan2", "synthesis.upsample.kernel"),
        ("idinvert", "synthesis.layer2.epilogue.bias"),
    ],
)
def test_keys_that_say_the_sizes_must_be_there(family, key):
    state = STATES[family]()
    del state[key]

    assert refused(family, state) == "missing_keys"


@pytest.mark.parametrize(
    ("family", "key", "shape", "code"),
    [
        ("pggan", "layer0.weight", (12, 10), "wrong_shapes"),
        ("pggan", "layer0.weight", (12, 20000, 1, 1), "bad_config"),
        ("stylegan", "mapping.label_weight", (3,), "wrong_shapes"),
        ("stylegan", "mapping.label_weight", (3, 10), "bad_config"),
        ("stylegan", "mapping.dense0.weight", (20000, 1), "bad_config"),
        ("stylegan2", "mapping.dense0.weight", (1, 20000), "bad_config"),
        ("idinvert", "truncation.truncation", (1, 2, 1), "wrong_shapes"),
    ],
)
def test_impossible_shapes_are_refused(family, key, shape, code):
    assert refused(family, STATES[family]() | {key: torch.zeros(shape)}) == code


@pytest.mark.parametrize(("family", "key"), [("pggan", "lod"), ("stylegan", "synthesis.lod")])
@pytest.mark.parametrize("lod", [-1.0, 2.5, 1e30])
def test_a_level_of_detail_that_the_network_lacks_is_refused(family, key, lod):
    assert refused(family, STATES[family]() | {key: torch.tensor(lod)}) == "bad_config"


def test_one_tensor_under_two_names_is_refused():
    state = idinvert_state() | {"mapping.dense0.weight": torch.zeros(11, 10)}

    assert refused("idinvert", state) == "unexpected_keys"


@pytest.mark.parametrize("family", STATES)
def test_tensors_beyond_the_budget_are_refused(family):
    with pytest.raises(CheckpointError) as caught:
        FORMATS[family].read(saved(STATES[family]()), 1000)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("family", STATES)
def test_what_is_not_a_tensor_is_refused(family):
    assert refused(family, STATES[family]() | {"note": "text"}) == "malformed"
