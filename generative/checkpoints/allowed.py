"""The allow-lists: what each format's pickles may name, and what we make of it.

Measured on files that the official codes wrote. Classes become inert containers; they are never imported.
"""

import struct
from collections.abc import Callable
from typing import Any

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Constructor, Inert, InertDict
from generative.checkpoints.tensors import OTHER_STORAGES, STORAGES, rebuild_parameter, rebuild_tensor


def _dict(*args: object) -> InertDict:
    """`OrderedDict()`, or with the list of pairs that Python 2 wrote into it."""
    pairs: Any = args[0] if args else []
    plain = isinstance(pairs, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    )
    if len(args) > 1 or not plain:
        raise CheckpointError("malformed", "broken pickle: a dictionary with arguments")
    return InertDict({pair[0]: pair[1] for pair in pairs})


def _set(*args: object) -> set[Any]:
    values = args[0] if args else []
    if len(args) > 1 or not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise CheckpointError("malformed", "broken pickle: a set of other things than text")
    return set(values)


def _never(name: str) -> Constructor:
    def refuse(*_args: object) -> object:
        raise CheckpointError("unsafe_pickle", f"the pickle calls {name}, which its format never does")

    return refuse


def inert(name: str) -> Constructor:
    """A constructor that keeps its arguments and does nothing."""

    def make(*args: object) -> Inert:
        return Inert(name, args)

    return make


def scalar(dtype: object, content: object = b"") -> bool | int | float:
    """`numpy.core.multiarray.scalar` for the plain number types."""
    kinds = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i", "b1": "?"}
    kind = kinds.get(str(dtype.args[0])) if isinstance(dtype, Inert) and dtype.args else None
    if kind is None or not isinstance(content, bytes) or len(content) != struct.calcsize(kind):
        raise CheckpointError("malformed", "broken pickle: a numpy scalar of an unknown kind")
    [value] = struct.unpack(kind, content)
    return value


TENSORS: dict[str, Constructor] = {
    "collections.OrderedDict": _dict,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    **{name: _never(name) for name in (*STORAGES, *OTHER_STORAGES)},  # named in persistent ids only
}

TORCH = TENSORS | {  # state dicts of every family; a training script's arguments may lie beside them
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "argparse.Namespace": inert("argparse.Namespace"),
    # BigGAN's training keeps its activations among its arguments
    "torch.nn.modules.activation.ReLU": inert("torch.nn.modules.activation.ReLU"),
    "torch.nn.backends.thnn._get_thnn_function_backend": inert("torch.nn.backends.thnn"),
    "builtins.set": _set,
    "__builtin__.set": _set,
    "models.utils.config.BaseConfig": inert("models.utils.config.BaseConfig"),  # of the GAN zoo
}


def nvlabs(load_from_bytes: Callable[[bytes], object]) -> dict[str, Constructor]:
    """For stylegan2-ada-pytorch and stylegan3 files. Old numpy says `numpy.core`, new numpy `numpy._core`."""
    names: dict[str, Constructor] = {
        "collections.OrderedDict": _dict,
        "dnnlib.util.EasyDict": _dict,
        "builtins.set": _set,
        "__builtin__.set": _set,
        "numpy.dtype": inert("numpy.dtype"),
        "numpy.ndarray": _never("numpy.ndarray"),
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch.storage._load_from_bytes": load_from_bytes,
        "dnnlib.tflib.network.Network": inert("dnnlib.tflib.network.Network"),
        "torch_utils.persistence._reconstruct_persistent_obj": inert("persistent"),
    }
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray.scalar"] = scalar
        names[f"{core}.multiarray._reconstruct"] = inert("numpy.ndarray")
        names[f"{core}.numeric._frombuffer"] = inert("numpy.ndarray")  # of protocol 5
    return names
