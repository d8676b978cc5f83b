"""The opcode machine against Python's own unpickler, on pickles that are safe for both."""

import collections
import io
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import InertDict, read_pickle

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.integers() | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(keys),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(values, st.sampled_from([4, 5]))
def test_plain_values_are_read_as_python_reads_them(value, protocol):
    assert read_pickle(io.BytesIO(pickle.dumps(value, protocol)), {}) == value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers() | st.text(alphabet=st.characters(codec="ascii")))), st.integers(0, 2))
def test_the_old_protocols_are_read_too(value, protocol):
    assert read_pickle(io.BytesIO(pickle.dumps(value, protocol)), {}) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    try:
        read_pickle(io.BytesIO(content), {})
    except CheckpointError as error:
        assert error.code in ("malformed", "truncated", "unsafe_pickle")


@settings(max_examples=200, deadline=None)
@given(values, st.data())
def test_damaged_pickles_are_read_or_refused(value, data):
    content = bytearray(pickle.dumps(value, 4))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    try:
        read_pickle(io.BytesIO(bytes(content)), {})
    except CheckpointError as error:
        assert error.code in ("malformed", "truncated", "unsafe_pickle")


def test_shared_values_stay_shared():
    shared = [1]
    a, b = read_pickle(io.BytesIO(pickle.dumps((shared, shared))), {})
    assert a is b


def test_an_allowed_class_becomes_what_the_list_says_and_keeps_its_state():
    value = collections.OrderedDict(a=1)
    value.note = "x"
    found = read_pickle(io.BytesIO(pickle.dumps(value, 2)), {"collections.OrderedDict": InertDict})
    assert type(found) is InertDict
    assert found == {"a": 1}
    assert found.state == {"note": "x"}


def test_the_stream_is_left_after_the_pickle():
    stream = io.BytesIO(pickle.dumps(1) + pickle.dumps(2) + b"rest")
    assert [read_pickle(stream, {}), read_pickle(stream, {}), stream.read()] == [1, 2, b"rest"]


def doubled(times):
    """A tuple of itself twice, so many times over: small to write, exponential to walk through."""
    return b"\x80\x04)" + b"\x942\x86" * times


def test_values_that_grow_exponentially_when_walked_are_not_walked():
    found = read_pickle(io.BytesIO(b"\x80\x04}" + b"K\x01" + doubled(60)[2:] + b"s."), {})
    assert found[1][0] is found[1][1]
    with pytest.raises(CheckpointError, match="key of type tuple"):
        read_pickle(io.BytesIO(b"\x80\x04}" + doubled(60)[2:] + b"Ns."), {})


def test_an_endless_pickle_is_cut_off(monkeypatch):
    monkeypatch.setattr("generative.checkpoints.pickles.MAX_OPCODES", 100)
    with pytest.raises(CheckpointError) as refused:
        read_pickle(io.BytesIO(b"N0" * 200 + b"."), {})
    assert refused.value.code == "too_large"
