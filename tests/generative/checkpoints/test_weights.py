"""Tensors and weights that make no network. Numbers as in the list of bad checkpoints."""

import pickle
import struct

import pytest
import torch

from generative.checkpoints import CheckpointError, import_checkpoint


def number(n):
    return b"\x8a\x08" + struct.pack("<q", n)


def tensor_program(text, size, stride, offset=0, count=4, kind="FloatStorage"):
    """`{"g_ema": {"x": tensor}}` with any numbers; storage 0 has `count` of its kind."""

    def numbers(values):
        return b"(" + b"".join(number(v) for v in values) + b"t"

    storage = (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text("0")
        + text("cpu")
        + number(count)
        + b"tQ"
    )
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(size) + numbers(stride)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip
    return b"\x80\x02}" + text("g_ema") + b"}" + text("x") + tensor + b"ss."


def tensor_file(forge, *arguments, stored=16, **options):
    program = tensor_program(forge.text, *arguments, **options)
    return forge.zip_of([("x/data.pkl", program), ("x/data/0", bytes(stored))])


TENSORS = {
    "28-stride-0": (((10**6, 10**6), (0, 0)), {}, "bad_tensor"),
    "29-size-beyond-storage": (((5,), (1,)), {}, "bad_tensor"),
    "29-stride-beyond-storage": (((2, 2), (3, 1)), {}, "bad_tensor"),
    "30-negative-stride": (((2,), (-1,)), {}, "bad_tensor"),
    "30-offset-past-the-end": (((2,), (1,)), {"offset": 3}, "bad_tensor"),
    "30-negative-offset": (((2,), (1,)), {"offset": -1}, "bad_tensor"),
    "negative-size": (((-2,), (1,)), {}, "bad_tensor"),
    "nine-dimensions": (((1,) * 9, (1,) * 9), {}, "bad_tensor"),
    "29-storage-says-more-than-it-holds": (((2,), (1,)), {"count": 5}, "bad_tensor"),
    "29-storage-says-exabytes": (((2,), (1,)), {"count": 2**60}, "bad_tensor"),
    "33-int8": (((2,), (1,)), {"kind": "CharStorage"}, "unsupported_dtype"),
    "33-complex": (((2,), (1,)), {"kind": "ComplexFloatStorage"}, "unsupported_dtype"),
}


@pytest.mark.parametrize("arguments, options, code", TENSORS.values(), ids=TENSORS)
def test_tensors_that_reach_outside_their_storage_are_refused(forge, arguments, options, code):
    assert forge.refusal(tensor_file(forge, *arguments, **options)) == code


def changed(**changes):
    """A rosinality file with some tensors replaced; None takes one away."""

    def change(root):
        for name, value in changes.items():
            if value is None:
                del root["g_ema"][name]
            else:
                root["g_ema"][name] = value(root["g_ema"].get(name)) if callable(value) else value

    return lambda forge: forge.rosinality(change=change)


def first_is(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[0] = value
        return tensor

    return change


def nvlabs_with(**kwargs):
    from_defaults = {"z_dim": 12, "c_dim": 0, "w_dim": 10, "img_resolution": 16, "img_channels": 3}
    synthesis = {"channel_base": 128, "channel_max": 16} | kwargs.pop("synthesis", {})
    given = {"mapping_kwargs": {"num_layers": 2}, "synthesis_kwargs": synthesis}
    return lambda forge: forge.nvlabs(from_defaults | given | kwargs)


MODELS = {
    "32-nan": (changed(**{"conv1.conv.weight": first_is(float("nan"))}), "non_finite"),
    "32-infinity": (changed(**{"style.1.weight": first_is(float("inf"))}), "non_finite"),
    "33-beyond-float32": (changed(**{"style.1.bias": torch.ones(10).double() * 1e300}), "non_finite"),
    "33-integers": (changed(**{"style.1.bias": torch.ones(10, dtype=torch.int64)}), "unsupported_dtype"),
    "34-missing": (changed(**{"conv1.conv.weight": None}), "missing_keys"),
    "34-missing-layer": (changed(**{"convs.1.conv.weight": None}), "missing_keys"),
    "34-no-g_ema": (
        lambda f: f.rosinality(training=True, change=lambda root: root.pop("g_ema")),
        "missing_keys",
    ),
    "no-network": (lambda f: f.rosinality(change=lambda root: root.pop("g_ema")), "unsupported_format"),
    "35-unexpected": (changed(extra=torch.zeros(3)), "unexpected_keys"),
    "35-half-a-layer-too-many": (changed(**{"convs.9.noise.weight": torch.zeros(1)}), "unexpected_keys"),
    "35-layer-of-a-billion": (changed(**{"convs.999999999.noise.weight": torch.zeros(1)}), "unexpected_keys"),
    "36-empty-average": (
        lambda f: f.rosinality(change=lambda root: root.update(latent_avg=torch.zeros(0))),
        "wrong_shapes",
    ),
    "36-shape": (changed(**{"convs.1.conv.weight": torch.zeros(1, 4, 4, 3, 3)}), "wrong_shapes"),
    "36-scalar": (changed(**{"convs.1.activate.bias": torch.zeros([])}), "wrong_shapes"),
    "36-empty": (changed(**{"conv1.conv.modulation.weight": torch.zeros(0, 10)}), "wrong_shapes"),
    "36-flat-weight": (changed(**{"style.1.weight": torch.zeros(3)}), "bad_config"),
    "37-resolution": (nvlabs_with(img_resolution=24), "bad_config"),
    "37-huge-resolution": (nvlabs_with(img_resolution=2**40), "bad_config"),
    "38-config-says-32": (nvlabs_with(img_resolution=32), "missing_keys"),
    "38-config-says-8": (nvlabs_with(img_resolution=8), "unexpected_keys"),
    "38-config-says-w-20": (nvlabs_with(w_dim=20), "wrong_shapes"),
    "38-arguments-say-32": (lambda f: f.rosinality(training=True, args={"size": 32}), "bad_config"),
    "unknown-argument": (nvlabs_with(magic=1), "bad_config"),
    "other-activation": (nvlabs_with(synthesis={"activation": "relu"}), "bad_config"),
    "text-for-a-number": (nvlabs_with(synthesis={"channel_max": "many"}), "bad_config"),
    "number-for-arguments": (nvlabs_with(mapping_kwargs=5), "bad_config"),
    "no-learning-rate": (nvlabs_with(mapping_kwargs={"lr_multiplier": float("nan")}), "bad_config"),
    "number-of-10000-digits": (nvlabs_with(synthesis={"channel_base": 10**10_000}), "bad_config"),
    "filter-of-six": (nvlabs_with(synthesis={"resample_filter": [1, 2, 3, 3, 2, 1]}), "bad_config"),
    "endless-mapping": (nvlabs_with(mapping_kwargs={"num_layers": 10**9}), "bad_config"),
    "optimizer-for-a-network": (
        lambda f: f.rosinality(change=lambda root: root.update(g_ema={"state": {"a": 1}})),
        "unsupported_format",
    ),
    "list-for-a-network": (
        lambda f: f.rosinality(change=lambda root: root.update(g_ema=[1])),
        "unsupported_format",
    ),
    "text-for-a-tensor": (changed(**{"conv1.conv.weight": "hello"}), "malformed"),
    "network-of-text": (lambda f: pickle.dumps({"G_ema": "hello"}), "unsupported_format"),
    "no-G_ema": (lambda f: pickle.dumps({"G": None}), "missing_keys"),
    "list": (lambda f: pickle.dumps([1, 2]), "unsupported_format"),
}


@pytest.mark.parametrize("build, code", MODELS.values(), ids=MODELS)
def test_weights_that_do_not_make_a_network_are_refused(forge, build, code):
    assert forge.refusal(build(forge)) == code


def test_at_most_twenty_names_are_shown(forge):
    extra = {f"x{i:02}": torch.zeros(1) for i in range(30)}
    with pytest.raises(CheckpointError, match=r"x00, x01, .*x19 and 10 more$"):
        import_checkpoint(forge.write(forge.nvlabs(state=forge.state | extra)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_33_other_floats_become_float32(forge, dtype):
    def change(root):
        root["g_ema"] = {name: value.to(dtype) for name, value in root["g_ema"].items()}

    imported = import_checkpoint(forge.write(forge.rosinality(change=change)))
    for name, value in forge.state.items():
        if name != "mapping.w_avg":
            assert torch.equal(imported.generator.state[name], value.to(dtype).float()), name


def test_31_tensors_that_shared_a_storage_no_longer_do(forge):
    def change(root):
        both = torch.randn(2, 16)
        root["g_ema"]["conv1.activate.bias"], root["g_ema"]["convs.1.activate.bias"] = both[0], both[1]

    state = import_checkpoint(forge.write(forge.rosinality(change=change))).generator.state
    one, other = state["synthesis.b4.conv1.bias"], state["synthesis.b8.conv1.bias"]
    before = other.clone()
    one += 1
    assert torch.equal(other, before)


def test_31_many_views_of_one_storage_are_not_many_times_its_size(forge):
    def change(root):
        big = torch.zeros(100_000)
        root["g_ema"] |= {f"x{i}": big for i in range(100)}

    assert forge.refusal(forge.rosinality(change=change)) == "too_large"


def test_40_a_file_over_the_cap_is_not_read(forge):
    assert forge.refusal(forge.nvlabs(), max_bytes=1000) == "too_large"
