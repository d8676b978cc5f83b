"""EigenGAN as LynnHo/EigenGAN-Tensorflow saves it: the folder of an experiment, with the files of a
TensorFlow checkpoint and `settings.yml`.

The variables of `G_test` are served, as the official test script does: copies of the running average.
Channels come last in TensorFlow; U, mu and the first layer are turned into our order. A model trained
without the loss that keeps U orthonormal uses U after Gram-Schmidt, which is done here once.
"""

import re
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Folder, Format, Network, make_state, shapes_of
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.flat import Shapes
from generative.checkpoints.tensors import TensorSpec
from generative.checkpoints.tf_bundle import is_index, read_bundle
from generative.networks.eigengan import EigenGANConfig

#: keys of a checkpoint of objects: variables are attributes by their full names, in which / is escaped
_KEY = re.compile(r"G_test\.S([^/]+):0/\.ATTRIBUTES/VARIABLE_VALUE")
NO_SETTINGS_NOTE = "without settings.yml; taken for a model whose U is used as it is stored, the default"
#: their transposed convolutions are numbered through; of each level in this order
_CONVOLUTIONS = ("subspace_conv1.0", "subspace_conv2.0", "feature_conv1.1", "feature_conv2.1")
_PARTS = {"weights": "weight", "biases": "bias"}


def _recognises(root: Any) -> bool:
    """Any folder with a TensorFlow checkpoint, so that another one is refused by its name."""
    return bool(_indices(root))


def _read(root: Any, budget: int) -> Contents:
    specs = _variables(root)
    config = _config(shapes_of(specs))
    state = dict(_translate(n, t) for n, t in make_state(specs, "the checkpoint", budget).items())
    if len(state) != len(specs):
        raise CheckpointError("unexpected_keys", "the generator has a variable twice, by different names")
    weight = _orthogonal_loss_weight(root)
    if weight == 0:
        for name in (n for n in state if n.endswith(".projection.U")):
            state[name] = gram_schmidt(state[name])
    notes = (NO_SETTINGS_NOTE,) if weight is None else ()
    return Contents("eigengan-tensorflow", Network("eigengan", config, state), notes=notes)


FORMAT = Format("eigengan-tensorflow", _recognises, _read)


def _indices(root: object) -> list[str]:
    files = root if isinstance(root, Folder) else {}
    return [name for name, content in files.items() if name.endswith(".index") and is_index(content)]


def _variables(folder: Folder) -> dict[str, TensorSpec]:
    """The generator's part of the TensorFlow checkpoint, by the names of its variables.

    The discriminator, the generator in training (`G`), its average and the optimisers have other scopes.

    Raises:
        CheckpointError: `unsupported_format`, `truncated`, and those of `read_bundle`.
    """
    index, *others = _indices(folder)
    if others:
        raise CheckpointError("unsupported_format", f"several TensorFlow checkpoints: {some_of(others)}, ...")
    shard = index.removesuffix(".index") + ".data-00000-of-00001"
    content = folder.get(shard)
    if not isinstance(content, bytes):
        raise CheckpointError("truncated", f"{shard[-100:]} is missing")
    matches = ((_KEY.fullmatch(key), spec) for key, spec in read_bundle(folder[index], [content]).items())
    ours = {match[1].replace(".S", "/"): spec for match, spec in matches if match}
    if "U_0" not in ours:
        raise CheckpointError("unsupported_format", "a TensorFlow checkpoint, but not of an EigenGAN")
    return ours


def _orthogonal_loss_weight(folder: Folder) -> float | None:
    """`g_loss_weight_orth_loss` of `settings.yml`; None if that is missing or says nothing."""
    pattern = re.compile(
        rb"^g_loss_weight_orth_loss: *(\d{1,9}(?:\.\d{0,20})?(?:e[+-]?\d{1,2})?) *\r?$", re.M
    )
    for name, content in folder.items():
        if name.rsplit("/", 1)[-1] == "settings.yml" and isinstance(content, bytes):
            found = pattern.search(content)
            return float(found[1]) if found else None
    return None


def _config(shapes: Shapes) -> EigenGANConfig:
    levels = sum(bool(re.fullmatch(r"U_\d+", name)) for name in shapes)
    bases = [shapes.get(f"U_{i}", ()) for i in range(levels)]  # (H, W, C, Q)
    fc, to_rgb = shapes.get("fully_connected/weights", ()), shapes.get("convolution/weights", ())
    if len(fc) != 2 or any(len(shape) != 4 for shape in (*bases, to_rgb)):
        raise CheckpointError("bad_config", "not the layers of an EigenGAN")
    fields = {
        "noise_dim": fc[0],
        "n_basis": tuple(shape[3] for shape in bases),
        "channels": (*(shape[2] for shape in bases), to_rgb[2]),
        "img_channels": to_rgb[3],
        "tensorflow_padding": True,
    }
    return read_config(EigenGANConfig, fields)


def _translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Our name and layout of one of their variables. What is not known stays, and will be found."""
    if match := re.fullmatch(r"(U|L|mu)_(\d+)", name):
        return f"blocks.{match[2]}.projection.{match[1]}", _channels_first(match[1], value)
    if match := re.fullmatch(r"fully_connected/(weights|biases)", name):
        return f"fc.{_PARTS[match[1]]}", _channels_first(match[1], value)
    if match := re.fullmatch(r"convolution/(weights|biases)", name):
        return f"to_rgb.0.1.{_PARTS[match[1]]}", _kernel_last(value)
    if match := re.fullmatch(r"transposed_convolution2d(?:_([1-9]\d*))?/(weights|biases)", name):
        level, layer = divmod(int(match[1] or 0), len(_CONVOLUTIONS))
        return f"blocks.{level}.{_CONVOLUTIONS[layer]}.{_PARTS[match[2]]}", _kernel_last(value)
    return name, value


def _kernel_last(value: Tensor) -> Tensor:
    """(k, k, I, O) of a convolution, (k, k, O, I) of a transposed one -> what torch has. Biases stay."""
    return value.permute(3, 2, 0, 1).contiguous() if value.ndim == 4 else value


def _channels_first(part: str, value: Tensor) -> Tensor:
    """Vectors of a feature map's numbers, from the order (H, W, C) to (C, H, W).

    U: (H, W, C, Q) -> (Q, C*H*W); mu: (H, W, C) -> (C*H*W,); weights: (I, 16*C) -> (C*16, I);
    biases: (16*C,) -> (C*16,). Whatever has another shape stays, and will be found wrong.
    """
    if part == "U" and value.ndim == 4:
        return value.permute(3, 2, 0, 1).flatten(1).contiguous()
    if part == "mu" and value.ndim == 3:
        return value.permute(2, 0, 1).flatten().contiguous()
    if part == "weights" and value.ndim == 2 and value.shape[1] % 16 == 0:
        return value.reshape(len(value), 16, -1).permute(2, 1, 0).flatten(0, 1).contiguous()
    if part == "biases" and value.ndim == 1 and len(value) % 16 == 0:
        return value.reshape(16, -1).T.flatten().contiguous()
    return value


def gram_schmidt(rows: Tensor) -> Tensor:
    """(Q, D) linearly independent rows -> orthonormal ones, each within the span of those up to it.

    QR decomposition finds the same rows, up to their signs.
    """
    q, r = torch.linalg.qr(rows.double().T)  # (D, Q), (Q, Q)
    return (q * r.diagonal().sign()).T.to(rows.dtype).contiguous()
