"""EigenGAN of TensorFlow: its checkpoint, by our own writer, against its graph in numpy, channels last."""

import dataclasses

import numpy as np
import pytest
import torch

from generative.checkpoints.contents import Folder
from generative.checkpoints.eigengan_tf import FORMAT, NO_SETTINGS_NOTE, gram_schmidt
from generative.checkpoints.errors import CheckpointError
from generative.networks.eigengan import EigenGANConfig, Generator

from .bundle_writer import bundle

BUDGET = 2**24
CONFIG = EigenGANConfig(
    noise_dim=5, n_basis=(2, 3), channels=(4, 3, 2), img_channels=3, tensorflow_padding=True
)
SETTINGS = b"experiment_name: CelebA\ng_loss_weight_orth_loss: %s\nz_dims:\n- 2\n- 3\n"


def variables(seed=0):
    """Those of `G_test`, by their names in TensorFlow."""
    rng = np.random.default_rng(seed)
    shapes = {"fully_connected/weights": (5, 16 * 4), "fully_connected/biases": (16 * 4,)}
    shapes |= {"convolution/weights": (7, 7, 2, 3), "convolution/biases": (3,)}
    k = 0
    for i, q in enumerate(CONFIG.n_basis):
        side, (c, out) = 4 << i, CONFIG.channels[i : i + 2]
        shapes |= {f"U_{i}": (side, side, c, q), f"L_{i}": (q,), f"mu_{i}": (side, side, c)}
        for kernel, outputs, inputs in ((1, c, c), (3, out, c), (3, out, c), (3, out, out)):
            scope = f"transposed_convolution2d_{k}" if k else "transposed_convolution2d"
            shapes |= {f"{scope}/weights": (kernel, kernel, outputs, inputs), f"{scope}/biases": (outputs,)}
            k += 1
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def key(name, scope="G_test"):
    return f"{scope}/{name}:0".replace("/", ".S") + "/.ATTRIBUTES/VARIABLE_VALUE"


def folder(values, settings=SETTINGS % b"1.0", **others):
    tensors = {key(name): value for name, value in values.items()}
    tensors |= {key(name, "G"): np.ones(2, np.float32) for name in ("U_0", "U_0/G_ema", "L_0/Adam")}
    tensors |= {key("convolution/weights", "D"): np.ones(3, np.float32)}
    tensors |= {
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE": np.array(3),
        "_CHECKPOINTABLE_OBJECT_GRAPH": b"...",
    }
    index, data = bundle(tensors | others)
    files = {"checkpoints/ckpt-9.index": index, "checkpoints/ckpt-9.data-00000-of-00001": data}
    files |= {"checkpoints/checkpoint": b'model_checkpoint_path: "ckpt-9"\n'}
    return Folder(files | ({"settings.yml": settings} if settings else {}))


def built(root):
    contents = FORMAT.read(root, BUDGET)
    generator = Generator(contents.generator.config)
    generator.load_state_dict(contents.generator.state)
    return generator.requires_grad_(False)


def refusal(root):
    with pytest.raises(CheckpointError) as error:
        FORMAT.read(root, BUDGET)
    return error.value.code


# --- the graph of the paper's code, in loops ----------------------------------------------------------------


def transposed(x, weights, biases, stride):
    """TensorFlow's transposed convolution, padding SAME: the transpose of SAME's own convolution.

    x: (N, H, W, I), weights: (k, k, O, I) -> (N, H * stride, W * stride, O).
    """
    N, H, W, _ = x.shape
    k = len(weights)
    before = (k - stride) // 2  # of the padding that SAME puts around the large picture, the smaller half
    out = np.zeros((N, H * stride, W * stride, weights.shape[2]))
    for h in range(H * stride):
        for w in range(W * stride):
            for i in range(k):
                for j in range(k):
                    from_h, from_w = h + before - i, w + before - j
                    inside = 0 <= from_h < H * stride and 0 <= from_w < W * stride
                    if inside and from_h % stride == 0 and from_w % stride == 0:
                        out[:, h, w] += x[:, from_h // stride, from_w // stride] @ weights[i, j].T
    return out + biases


def convolution(x, weights, biases):
    """Padding SAME, stride 1. x: (N, H, W, I), weights: (k, k, I, O) -> (N, H, W, O)."""
    H, W, pad = x.shape[1], x.shape[2], len(weights) // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return (
        sum(
            padded[:, i : i + H, j : j + W] @ weights[i, j]
            for i in range(2 * pad + 1)
            for j in range(2 * pad + 1)
        )
        + biases
    )


def leaky(x):
    return np.maximum(x, 0.2 * x)


def official(values, z, orthonormal=False):
    """(N, z_dim) -> (N, H, W, 3)."""
    values = {name: value.astype(np.float64) for name, value in values.items()}
    layers = iter(
        (values[f"{scope}/weights"], values[f"{scope}/biases"])
        for scope in ["transposed_convolution2d", *(f"transposed_convolution2d_{k}" for k in range(1, 8))]
    )
    x = (z[:, :5] @ values["fully_connected/weights"] + values["fully_connected/biases"]).reshape(-1, 4, 4, 4)
    parts = z[:, 5:7], z[:, 7:10]
    for i, part in enumerate(parts):
        U = values[f"U_{i}"]
        if orthonormal:
            U = classical_gram_schmidt(U.reshape(-1, U.shape[-1]).T).T.reshape(U.shape)
        phi = np.einsum("hwcq,q,nq->nhwc", U, values[f"L_{i}"], part) + values[f"mu_{i}"]
        first, second = transposed(phi, *next(layers), 1), transposed(phi, *next(layers), 2)
        x = transposed(leaky(x + first), *next(layers), 2)
        x = transposed(leaky(x + second), *next(layers), 1)
    return np.tanh(convolution(leaky(x), values["convolution/weights"], values["convolution/biases"]))


def classical_gram_schmidt(rows):
    basis = rows[:1] / np.linalg.norm(rows[0])
    for row in rows[1:]:
        rest = row - (row @ basis.T) @ basis
        basis = np.concatenate([basis, rest[None] / np.linalg.norm(rest)])
    return basis


@pytest.mark.parametrize(("settings", "orthonormal"), [(b"1.0", False), (b"0.5", False), (b"0.0", True)])
def test_pictures_are_those_of_the_graph(settings, orthonormal):
    values = variables()
    z = np.random.default_rng(1).normal(size=(2, CONFIG.noise_dim + 5))
    root = folder(values, SETTINGS % settings)
    assert FORMAT.recognises(root)
    expected = official(values, z, orthonormal)
    actual = built(root).double()(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()
    assert np.abs(actual - expected).max() < 1e-6


def test_the_twin_is_no_convolution_of_torch_shifted():
    """SAME begins one pixel before what the port does; both paddings cannot agree with the graph."""
    values = variables()
    z = np.random.default_rng(1).normal(size=(2, 10))
    contents = FORMAT.read(folder(values), BUDGET)
    other = Generator(dataclasses.replace(contents.generator.config, tensorflow_padding=False))
    other.load_state_dict(contents.generator.state)
    with torch.no_grad():
        actual = other.double()(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()
    assert np.abs(actual - official(values, z)).max() > 0.05


def test_sizes_are_read_from_shapes():
    contents = FORMAT.read(folder(variables()), BUDGET)
    assert contents.generator.config == CONFIG
    assert contents.notes == ()


@pytest.mark.parametrize("settings", [None, b"", b"g_loss_weight_orth_loss: many\n"])
def test_without_settings_u_is_used_as_it_is_and_that_is_noted(settings):
    contents = FORMAT.read(folder(variables(), settings), BUDGET)
    assert contents.notes == (NO_SETTINGS_NOTE,)
    expected = FORMAT.read(folder(variables()), BUDGET).generator.state
    assert all(torch.equal(value, expected[name]) for name, value in contents.generator.state.items())


def test_gram_schmidt_keeps_every_leading_span_and_its_sense():
    rows = torch.randn(4, 30, generator=torch.Generator().manual_seed(0))
    found = gram_schmidt(rows)
    torch.testing.assert_close(found, torch.from_numpy(classical_gram_schmidt(rows.numpy())))
    torch.testing.assert_close(found @ found.T, torch.eye(4))


def test_a_layer_that_is_missing_or_unknown_is_left_to_the_check_of_all_weights():
    values = variables()
    del values["transposed_convolution2d_5/biases"]
    state = FORMAT.read(folder(values | {"convolution/scale": values["L_0"]}), BUDGET).generator.state
    expected = set(Generator(CONFIG).state_dict())
    assert expected - set(state) == {"blocks.1.subspace_conv2.0.bias"}
    assert set(state) - expected == {"convolution/scale"}


@pytest.mark.parametrize(
    "name",
    ["fully_connected/biases", "L_1", "mu_0", "transposed_convolution2d_1/weights", "convolution/biases"],
)
def test_wrong_shapes_are_left_to_the_check_of_all_weights(name):
    for shape in ((), (3,), (3, 3), (2, 2, 2, 2, 2)):
        state = FORMAT.read(folder(variables() | {name: np.ones(shape, np.float32)}), BUDGET).generator.state
        assert set(state) == set(Generator(CONFIG).state_dict())


@pytest.mark.parametrize("name", ["U_0", "U_1", "fully_connected/weights", "convolution/weights"])
def test_shapes_that_decide_sizes_must_be_those_of_an_eigengan(name):
    assert refusal(folder(variables() | {name: np.ones(3, np.float32)})) == "bad_config"


def test_without_an_end_there_is_no_eigengan():
    values = variables()
    del values["convolution/weights"]
    assert refusal(folder(values)) == "bad_config"
    del values["U_0"]
    assert refusal(folder(values)) == "unsupported_format"


def test_a_name_for_two_things_is_refused():
    values = variables()
    root = folder(values, **{key("blocks.0.projection.U"): np.ones((2, 64), np.float32)})
    assert refusal(root) == "unexpected_keys"


def test_other_checkpoints_of_tensorflow_are_refused_by_name():
    index, data = bundle({"dense/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.ones(3, np.float32)})
    root = Folder({"a.index": index, "a.data-00000-of-00001": data})
    assert FORMAT.recognises(root)
    assert refusal(root) == "unsupported_format"


def test_a_folder_must_be_whole_and_hold_one_checkpoint():
    root = folder(variables())
    assert refusal(Folder(root | {"b.index": root["checkpoints/ckpt-9.index"]})) == "unsupported_format"
    del root["checkpoints/ckpt-9.data-00000-of-00001"]
    assert refusal(root) == "truncated"


def test_the_budget_holds():
    with pytest.raises(CheckpointError, match="larger than"):
        FORMAT.read(folder(variables()), 100)


@pytest.mark.parametrize(
    "root", [None, {}, Folder(), Folder({"a.index": b"x"}), Folder({"a.index": {}}), 3, []]
)
def test_other_things_are_not_recognised(root):
    assert not FORMAT.recognises(root)
