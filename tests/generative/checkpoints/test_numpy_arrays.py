"""Arrays out of pickles: what numpy wrote comes back, and what it would not write is refused."""

import io
import pickle

import numpy as np
import pytest
import torch

from generative.checkpoints import allowed
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.numpy_arrays import array_spec
from generative.checkpoints.pickles import Inert, read_pickle

NAMES = allowed.nvlabs(lambda _content: None)


def through_pickle(value, protocol=4):
    return read_pickle(io.BytesIO(pickle.dumps(value, protocol)), NAMES)


def described(shape=(2, 3), kind="f4", order="<", columns=False, content=bytes(24), version=1):
    """What a pickle says of an array."""
    dtype = Inert("numpy.dtype", (kind, False, True))
    dtype.state = (3, order, None, None, None, -1, -1, 0)
    array = Inert("numpy.ndarray")
    array.state = (version, shape, dtype, columns, content)
    return array


def refusal(value):
    with pytest.raises(CheckpointError) as error:
        array_spec(value)
    return error.value.code


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", "<i8"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (2, 3, 4, 5)], ids=str)
def test_numbers_come_back_as_numpy_wrote_them(dtype, shape):
    array = np.arange(-7, np.prod(shape, dtype=int) - 7, dtype=dtype).reshape(shape)
    for layout in (array, np.array(array, order="F"), array[::-1] if array.ndim else array):
        made = array_spec(through_pickle(layout)).make()
        assert made.shape == shape
        assert torch.equal(made.double(), torch.tensor(layout.astype(np.float64)))


def test_the_old_spelling_of_the_name_is_known():
    content = pickle.dumps(np.ones(3, np.float32), 2).replace(b"numpy._core", b"numpy.core")
    names = NAMES | {"_codecs.encode": lambda text, _codec: text.encode("latin1")}  # how protocol 2 has bytes
    assert torch.equal(array_spec(read_pickle(io.BytesIO(content), names)).make(), torch.ones(3))


@pytest.mark.parametrize("number", [np.float32(0.1), np.float64(-2.5), 0.25])
def test_numpy_floats_have_no_axes(number):
    made = array_spec(through_pickle(number)).make()
    assert made.shape == ()
    assert made.item() == np.float32(number)


def test_nothing_is_copied_before_a_tensor_is_made():
    content = bytes(24)
    assert array_spec(described(content=content)).storage.content.obj is content


@pytest.mark.parametrize(
    "value, code",
    [
        (described(shape=(2, 4)), "bad_tensor"),
        (described(shape=(2, 2)), "bad_tensor"),
        (described(shape=(2**62, 2**62)), "bad_tensor"),
        (described(shape=(10**5000, 1)), "bad_tensor"),
        (described(shape=(-2, -3)), "bad_tensor"),
        (described(shape=(2, 3.0)), "bad_tensor"),
        (described(shape=(True, 6)), "bad_tensor"),
        (described(shape=(1,) * 9 + (6,)), "bad_tensor"),
        (described(shape=(10**9,) * 10**5), "bad_tensor"),
        (described(shape=[2, 3]), "bad_tensor"),
        (described(content=[1.0] * 6), "bad_tensor"),
        (described(content=bytes(23)), "bad_tensor"),
        (described(columns="yes"), "bad_tensor"),
        (described(version=2), "bad_tensor"),
        (described(order=">"), "unsupported_dtype"),
        (described(kind="c8"), "unsupported_dtype"),
        (described(kind="O8"), "unsupported_dtype"),
        (described(kind="V8"), "unsupported_dtype"),
        (described(kind=4), "unsupported_dtype"),
        (Inert("numpy.ndarray"), "bad_tensor"),
        (Inert("numpy.dtype"), "bad_tensor"),
        (7, "bad_tensor"),
        (True, "bad_tensor"),
        ("text", "bad_tensor"),
        (None, "bad_tensor"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_numpy_would_not_write_is_refused(value, code):
    assert refusal(value) == code


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([object()]),
        np.array([1 + 2j]),
        np.zeros(2, [("a", "<f4")]),
        np.ones(2, ">f4"),
    ],
    ids=["text", "objects", "complex", "records", "big-endian"],
)
def test_arrays_of_other_things_are_refused(array):
    try:
        value = through_pickle(array)
    except CheckpointError as error:
        assert error.code == "unsafe_pickle"  # of an object
    else:
        assert refusal(value) in ("unsupported_dtype", "bad_tensor")
