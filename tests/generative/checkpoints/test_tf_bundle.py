"""The reader of TensorFlow checkpoints gives back what was written, and refuses all else by a code."""

import random

import numpy as np
import pytest

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tf_bundle import (
    MAX_ENTRIES,
    MAX_INDEX_BYTES,
    is_index,
    masked_crc32c,
    read_bundle,
)

from .bundle_writer import (
    HEADER,
    block,
    bundle,
    crc32c,
    entry,
    finish,
    message,
    number,
    table,
    trailer,
    varint,
)

rng = np.random.default_rng(0)
TENSORS = {
    "_OBJECT_GRAPH": b"a string",
    **{f"net/layer_{i}/weights": rng.normal(size=(3, 2 + i)).astype(np.float32) for i in range(12)},
    "net/scalar": np.array(0.5, np.float32),
    "net/none": np.zeros((3, 0), np.float32),
    "net/half": rng.normal(size=7).astype(np.float16),
    "net/double": rng.normal(size=(2, 2)),
    "step": np.array(2**40),
}


def refusal(index, *shards):
    with pytest.raises(CheckpointError) as error:
        read_bundle(index, shards)
    assert len(str(error.value)) < 1000
    return error.value.code


def one(value):
    """A table with a header and one tensor of this description."""
    return table([(b"", HEADER), (b"a", value)])


def test_what_was_written_comes_back():
    index, data = bundle(TENSORS)
    assert is_index(index)
    tensors = read_bundle(index, [data])
    assert set(tensors) == set(TENSORS) - {"_OBJECT_GRAPH"}
    for name, spec in tensors.items():
        expected = TENSORS[name]
        assert spec.make().numpy().shape == expected.shape
        np.testing.assert_array_equal(spec.make().numpy(), expected.astype(spec.make().numpy().dtype))


def test_checksums_are_those_of_the_standard():
    """The check value of CRC-32C, by the reader and by long division."""
    assert crc32c(b"123456789") == 0xE3069283
    unmasked = (masked_crc32c(b"123456789") - 0xA282EAD8) % 2**32
    assert (unmasked >> 17 | unmasked << 15) % 2**32 == 0xE3069283


def test_a_flipped_bit_of_the_index_is_seen():
    index, data = bundle(TENSORS)
    for at in range(0, len(index) // 2, 3):  # of the blocks that hold the entries
        assert refusal(index[:at] + bytes([index[at] ^ 4]) + index[at + 1 :], data)


def test_no_damage_makes_it_fail_in_another_way():
    index, data = bundle({"a": np.ones(3, np.float32), "b": np.ones((2, 2), np.float32)})
    chance = random.Random(0)
    for _ in range(500):
        broken = bytearray(index[: chance.randrange(len(index))] if chance.random() < 0.3 else index)
        for _ in range(chance.randrange(1, 6)):
            if broken:
                broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            read_bundle(bytes(broken), [data])
        except CheckpointError:
            pass


def test_random_descriptions_are_read_or_refused():
    chance = random.Random(1)
    for _ in range(500):
        value = bytearray(entry(1, (2, 2), 0, 16))
        for _ in range(chance.randrange(1, 4)):
            value[chance.randrange(len(value))] = chance.randrange(256)
        try:
            for spec in read_bundle(one(bytes(value)), [bytes(16)]).values():
                spec.make()
        except CheckpointError:
            pass


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 49, 100])
def test_an_incomplete_index_is_no_index(cut):
    index, data = bundle(TENSORS)
    assert refusal(index[:cut], data) == "malformed"
    assert not is_index(index[:cut])


def test_missing_data_is_named():
    index, data = bundle(TENSORS)
    assert refusal(index, data[:-1]) == "truncated"
    assert refusal(index) == "truncated"
    assert refusal(index, data, data) == "truncated"
    assert refusal(one(entry(1, (2,), 0, 8, shard=1)), bytes(8)) == "truncated"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (entry(1, (2, 2), 0, 12), "bad_tensor"),
        (entry(1, (2, 2), 0, 17), "bad_tensor"),
        (entry(1, (-1, -16), 0, 16), "bad_tensor"),
        (entry(1, (1,) * 9, 0, 4), "bad_tensor"),
        (entry(1, (2**62,) * 3000, 0, 16), "bad_tensor"),
        (entry(1, (2, 2), 1, 16), "truncated"),
        (entry(1, (2, 2), 2**63, 16), "truncated"),
        (entry(8, (2,), 0, 16), "unsupported_dtype"),  # complex
        (b"", "unsupported_dtype"),
        (entry(1, (2, 2), 0, 16) + message(7, b""), "unsupported_format"),  # slices
        (varint(8 * 2 + 2) + varint(100), "truncated"),
        (varint(8 * 2 + 3), "malformed"),
        (b"\xff" * 20, "malformed"),
        (b"\x08", "malformed"),
    ],
)
def test_impossible_tensors_are_refused(value, code):
    assert refusal(one(value), bytes(16)) == code


def test_other_machines_and_compression_are_refused():
    assert refusal(bundle(TENSORS, HEADER + number(2, 1))[0], b"") == "unsupported_format"
    assert refusal(table([(b"", HEADER)], kind=1), b"") == "unsupported_format"


@pytest.mark.parametrize("keys", [(b"b", b"a"), (b"a", b"a")])
def test_keys_out_of_order_are_refused(keys):
    entries = [(key, entry(1, (), 0, 4)) for key in keys]
    assert refusal(table([(b"", HEADER), *entries]), bytes(4)) == "malformed"


def test_a_key_must_be_text_and_short():
    value = entry(1, (), 0, 4)
    assert refusal(table([(b"", HEADER), (b"\xff", value)]), bytes(4)) == "malformed"
    assert refusal(table([(b"", HEADER), (b"k" * 2000, value)]), bytes(4)) == "malformed"


def test_an_entry_may_not_take_more_than_there_is():
    for head in (varint(1) + varint(0), varint(0) + varint(99)):
        written = head + varint(0) + block([])
        index = finish(written + trailer(written), [(b"z", varint(0) + varint(len(written)))])
        assert refusal(index, b"") == "malformed"
    written = b"\xff\xff\xff\xff"  # restarts that the block is too short for
    index = finish(written + trailer(written), [(b"z", varint(0) + varint(len(written)))])
    assert refusal(index, b"") == "truncated"


def test_blocks_that_overlap_are_refused():
    """Else a small file could be a table without an end."""
    written = block([(b"", HEADER)])
    place = varint(0) + varint(len(written))
    assert refusal(finish(written + trailer(written), [(b"a", place), (b"b", place)]), b"") == "truncated"
    outside = varint(10**6) + varint(1)
    assert refusal(finish(written + trailer(written), [(b"a", outside)]), b"") == "truncated"


def test_the_index_is_bounded():
    index, data = bundle(TENSORS)
    assert refusal(bytes(MAX_INDEX_BYTES) + index, data) == "too_large"
    assert MAX_ENTRIES * 40 >= MAX_INDEX_BYTES / 2  # what so many bytes can hold is not far above
