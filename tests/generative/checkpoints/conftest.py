"""Files as the official codes write them, from stand-ins of the classes whose names end up in the pickles."""

import argparse
import collections
import io
import pickle
import struct
import sys
import types
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from generative.checkpoints import CheckpointError, import_checkpoint
from generative.networks.stylegan2 import Generator, StyleGAN2Config

SMALL = StyleGAN2Config(
    img_resolution=16, z_dim=12, w_dim=10, mapping_layers=2, channel_base=128, channel_max=16
)
KWARGS = {  # of the official constructor, for the same network
    "z_dim": 12,
    "c_dim": 0,
    "w_dim": 10,
    "img_resolution": 16,
    "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2},
    "synthesis_kwargs": {"channel_base": 128, "channel_max": 16, "num_fp16_res": 0, "conv_clamp": None},
}


@contextmanager
def _official_modules():
    """`dnnlib.util.EasyDict` and `torch_utils.persistence`, importable only while a file is being written."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("only the official loader runs this")

    class EasyDict(dict):
        pass

    modules = {
        name: types.ModuleType(name)
        for name in ("dnnlib", "dnnlib.util", "torch_utils", "torch_utils.persistence")
    }
    modules["dnnlib"].util = modules["dnnlib.util"]
    modules["torch_utils"].persistence = modules["torch_utils.persistence"]
    modules["dnnlib.util"].EasyDict = EasyDict
    modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj
    EasyDict.__module__ = "dnnlib.util"
    EasyDict.__qualname__ = "EasyDict"
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    sys.modules.update(modules)
    try:
        yield modules
    finally:
        for name in modules:
            del sys.modules[name]


class Persistent:
    """An instance of a class whose source text travels with it."""

    def __init__(self, reconstruct, class_name, source, state):
        self.parts = (
            reconstruct,
            {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state},
        )

    def __reduce__(self):
        reconstruct, meta = self.parts
        return reconstruct, (meta,)


class Forge:
    """Writes checkpoint files into a folder; `canary` must never come into being."""

    def __init__(self, folder):
        self.folder = folder
        self.canary = folder / "canary"
        torch.manual_seed(0)
        self.generator = Generator(SMALL).eval()
        self.state = self.generator.state_dict()

    def write(self, content, name="upload"):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def nvlabs(self, kwargs=KWARGS, state=None, stylegan3=False, protocol=4, extra=None):
        """A pickle as training writes it; the source text in it would leave a canary behind."""
        with _official_modules() as modules:
            easy = modules["dnnlib.util"].EasyDict
            G = self._module(modules, "Generator", state or self.state, easy(kwargs), stylegan3)
            root = {"G": None, "D": None, "G_ema": G, "training_set_kwargs": easy(), "augment_pipe": None}
            return pickle.dumps(root | (extra or {}), protocol=protocol)

    def _module(self, modules, class_name, state, kwargs, stylegan3, depth=0):
        """The tree behind the dotted names of a state_dict."""
        easy = modules["dnnlib.util"].EasyDict
        own = {name: value for name, value in state.items() if "." not in name}
        children = {}
        for name, value in state.items():
            if "." in name:
                child, rest = name.split(".", 1)
                children.setdefault(child, {})[rest] = value
        buffers = {n: v for n, v in own.items() if n in ("noise_const", "resample_filter", "w_avg")}
        attributes = {
            "training": False,
            "_parameters": collections.OrderedDict(
                (n, torch.nn.Parameter(v)) for n, v in own.items() if n not in buffers
            ),
            "_buffers": collections.OrderedDict(buffers | {"scratch": torch.zeros(2)}),
            "_non_persistent_buffers_set": {"scratch"},
            "_backward_hooks": collections.OrderedDict(),
            "_modules": collections.OrderedDict(
                (n, self._module(modules, "Child", s, easy(), stylegan3, depth + 1))
                for n, s in children.items()
            ),
            "_init_args": (),
            "_init_kwargs": kwargs,
            "weight_gain": np.float64(0.5),
        }
        if stylegan3:
            attributes |= {"num_fp16_res": 4, "in_size": np.array([4, 4])}
        source = f"open({str(self.canary)!r}, 'w').close()"
        reconstruct = modules["torch_utils.persistence"]._reconstruct_persistent_obj
        return Persistent(reconstruct, class_name, source, attributes)

    def refusal(self, content, **options):
        """The code with which the content is refused."""
        with pytest.raises(CheckpointError) as error:
            import_checkpoint(self.write(content), **options)
        assert len(str(error.value)) < 4000
        return error.value.code

    @staticmethod
    def text(value):
        """The opcode that pushes a text."""
        raw = str(value).encode()
        return b"X" + struct.pack("<I", len(raw)) + raw

    def call(self, module, name, *arguments):
        """A pickle of `module.name(*arguments)`, texts only."""
        pushed = b"".join(self.text(a) for a in arguments)
        return b"\x80\x02" + f"c{module}\n{name}\n".encode() + b"(" + pushed + b"tR."

    @staticmethod
    def zip_of(members, compression=zipfile.ZIP_STORED, change=None):
        """An archive of (name, content) pairs; `change` may alter each member's directory entry."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, content in members:
                info = zipfile.ZipInfo(name)
                info.compress_type = compression
                if change:
                    change(info)
                archive.writestr(info, content)
        return file.getvalue()

    def members(self):
        """What is in a genuine archive."""
        archive = zipfile.ZipFile(io.BytesIO(self.rosinality()))
        return [(name, archive.read(name)) for name in archive.namelist()]

    def rosinality_names(self, noises=True):
        return to_rosinality(self.state, noises)

    def rosinality(
        self, *, training=False, average=True, noises=True, zip_container=True, change=None, args=None
    ):
        """A file of rosinality's converter, or of its training script."""
        root = {"g_ema": collections.OrderedDict(self.rosinality_names(noises))}
        if average:
            root["latent_avg"] = self.state["mapping.w_avg"]
        if training:
            options = {"size": 16, "latent": 10, "n_mlp": 2} | (args or {})
            root |= {
                "g": root["g_ema"],
                "args": argparse.Namespace(**options),
                "ada_aug_p": 0.0,
                "g_optim": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.002, "params": [0]}]},
            }
        if change:
            change(root)
        file = io.BytesIO()
        torch.save(root, file, _use_new_zipfile_serialization=zip_container)
        return file.getvalue()


def to_rosinality(state, noises):
    """Our names to theirs, as the table beside the vectors says; the opposite of the importer."""
    theirs = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "mapping":
            if parts[1] != "w_avg":
                theirs[f"style.{int(parts[1][2:]) + 1}.{parts[2]}"] = value
            continue
        size, rest = int(parts[1][1:]), ".".join(parts[3:])
        k = size.bit_length() - 4  # 8 px is block 0
        if parts[2] == "const":
            theirs["input.input"] = value[None]
        elif parts[2] == "resample_filter":
            if size > 4:
                theirs[f"to_rgbs.{k}.upsample.kernel"] = 4 * value
        elif parts[2] == "torgb":
            layer = "to_rgb1" if size == 4 else f"to_rgbs.{k}"
            put_layer(theirs, layer, rest, value, bias=("bias", value.reshape(1, -1, 1, 1)))
        else:
            index = 2 * k + int(parts[2] == "conv1")
            layer = "conv1" if size == 4 else f"convs.{index}"
            if rest == "noise_const":
                if noises:
                    theirs[f"noises.noise_{index + 1 if size > 4 else 0}"] = value[None, None]
            elif rest == "resample_filter":
                if parts[2] == "conv0":
                    theirs[f"{layer}.conv.blur.kernel"] = 4 * value
            else:
                put_layer(theirs, layer, rest, value, bias=("activate.bias", value))
    return theirs


def put_layer(theirs, layer, rest, value, bias):
    if rest == "weight":
        theirs[f"{layer}.conv.weight"] = value[None]
    elif rest == "bias":
        theirs[f"{layer}.{bias[0]}"] = bias[1]
    elif rest == "noise_strength":
        theirs[f"{layer}.noise.weight"] = value.reshape(1)
    else:
        theirs[f"{layer}.conv.modulation.{rest.split('.')[1]}"] = value


@pytest.fixture
def forge(tmp_path):
    forge = Forge(tmp_path)
    yield forge
    assert not forge.canary.exists(), "something in the file was run"
    assert not {"dnnlib", "torch_utils", "mailcap", "torch_utils.persistence"} & set(sys.modules)
