import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.npy_files import read_npy, read_npz, read_numpy_pickle
from generative.checkpoints.tensors import TensorSpec


def saved(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3), (3, 0, 2), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
def test_what_numpy_writes_is_read_back(dtype, shape, version):
    array = np.random.RandomState(0).randn(*shape) * np.ones(shape)
    for order in ("C", "F"):
        written = np.array(array, dtype=dtype, order=order)
        read = read_npy(saved(written, version))
        assert read.size == shape
        assert np.array_equal(read.make().numpy(), written.astype(np.float32))


def test_shapes_of_python_2_are_read():
    content = saved(np.arange(6, dtype="<f4").reshape(2, 3)).replace(b"(2, 3), }  ", b"(2L, 3L), }")
    assert read_npy(content).size == (2, 3)


@pytest.mark.parametrize("shape", ["(2, 3,)", "(2 3)", "(,)", "(3)", "(2,,3)", "(-2, 3)", "(0x2,)", "(²,)"])
def test_shapes_that_numpy_does_not_write_are_refused(shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode("latin1")
    with pytest.raises(CheckpointError) as refusal:
        read_npy(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(24))
    assert refusal.value.code == "malformed"


@pytest.mark.parametrize("packed", [False, True])
def test_archives_are_read_packed_or_not(packed):
    arrays = {"a": np.arange(4.0), "b": np.ones((2, 2), np.float32)}
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    found = read_npz(stream.getvalue())
    assert {name: spec.make().tolist() for name, spec in found.items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


def archive(members, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, content in members:
            made.writestr(name, content)
    return stream.getvalue()


def test_archives_that_numpy_does_not_write_are_refused():
    array = saved(np.ones(3))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive([("a.npy", array), ("a.npy", array)])
    bad = [
        (twice, "bad_container"),
        (archive([("a.npy", array)], zipfile.ZIP_BZIP2), "bad_container"),
        (archive([(f"{i}.npy", array) for i in range(65)]), "too_large"),
        (archive([("a.npy", b"nothing")]), "malformed"),
        (b"PK\3\4 and no more", "bad_container"),
    ]
    for content, code in bad:
        with pytest.raises(CheckpointError) as refusal:
            read_npz(content)
        assert refusal.value.code == code


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_arrays_are_read_through_lists_and_dictionaries(protocol):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    value = {"a": [array, "text", np.float64(1.5)], "b": 3, "c": np.asfortranarray(array), "d": None}
    if protocol == 5:  # arrays are then kept in another way, which none of these projects used
        with pytest.raises(CheckpointError):
            read_numpy_pickle(pickle.dumps(value, protocol))
        return
    found = read_numpy_pickle(pickle.dumps(value, protocol))
    assert torch.equal(found["a"][0].make(), torch.from_numpy(array))
    assert torch.equal(found["c"].make(), torch.from_numpy(array))
    assert (found["a"][1:], found["b"], found["d"]) == (["text", 1.5], 3, None)


def test_an_object_that_is_an_array_s_only_one_is_read():
    stream = io.BytesIO()
    np.save(stream, np.array({"x": np.ones(2)}, dtype=object), allow_pickle=True)
    found = read_npy(stream.getvalue())
    assert isinstance(found["x"], TensorSpec) and found["x"].make().tolist() == [1, 1]
