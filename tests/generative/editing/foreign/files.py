"""Files as their authors' programs write them, and files that none of them would."""

import io
import pickle
import struct
import zipfile

import numpy as np
import torch

from generative.editing.foreign import Request, Target
from generative.spaces import Space

FFHQ = Target(z_dim=512, w_dim=512, num_ws=18)
SMALL = Target(z_dim=5, w_dim=4, num_ws=6)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def raw_npy(header, body=b"", version=(1, 0), length=None):
    """A `.npy` file with any header."""
    text = header.encode("latin1")
    size = len(text) if length is None else length
    packed = struct.pack("<H" if version[0] == 1 else "<I", size)
    return b"\x93NUMPY" + bytes(version) + packed + text + body


def header(descr="'<f4'", order="False", shape="(4,)"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def npz(packed=False, **arrays):
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    return stream.getvalue()


def zipped(members, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def pt(value, old=False):
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def boundary_file(vector, layers="0-3", protocol=3):
    """HiGAN's: a dictionary that `np.save` kept as an object."""
    array = np.array({"boundary": vector, "meta_data": {"type": "attribute", "manipulate_layers": layers}})
    return raw_npy(header("'|O'", shape="()")) + pickle.dumps(array, protocol=protocol)


def cache(dim=4, count=3, stdev=2.0, **changed):
    """The `.npz` of a GANSpace decomposition."""
    axes = np.eye(dim, dtype=np.float32)[:count, None]
    arrays = {
        "act_comp": axes,
        "act_mean": np.zeros((1, dim), np.float32),
        "act_stdev": np.full(count, stdev, np.float32),
        "lat_comp": axes,
        "lat_mean": np.zeros((1, dim), np.float32),
        "lat_stdev": np.full(count, stdev, np.float32),
        "var_ratio": np.full(count, 1 / count, np.float32),
        "random_stdevs": np.full(count, stdev, np.float32),
    }
    return arrays | changed


def saved_direction(**changed):
    """GANSpace's `.pkl` of one direction."""
    params = {
        "name": "Light direction",
        "sigma_range": np.float64(-2.5),
        "component_index": 15,
        "act_comp": np.eye(4, dtype=np.float32)[:1],
        "lat_comp": np.eye(4, dtype=np.float32)[:1],
        "latent_space": "W",
        "act_stdev": 1.5,
        "lat_stdev": 1.25,
        "model_name": "StyleGAN2",
        "output_class": "ffhq",
        "decomposition": {"name": "ipca", "components": 80, "samples": 1000, "layer": "style"},
        "edit_type": "latent",
        "use_slerp": False,
        "truncation": 0.9,
        "edit_start": 1,
        "edit_end": 3,
        "example_seed": 5,
    }
    return pickle.dumps(params | changed, protocol=3)


def ask(name="smile", target=SMALL, space=None, first=None):
    return Request(name, target, Space(space) if space else None, first)
