"""The numbered bad direction files: each is refused with a reason, or read as what it means."""

import json
import pickle
import re

import numpy as np
import pytest
import torch

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.npy_files import MAX_UNPACKED_BYTES
from generative.editing.foreign import read_directions
from generative.editing.foreign.opened import MAX_BYTES
from generative.spaces import Space

from .files import SMALL, ask, boundary_file, cache, header, npy, npz, pt, raw_npy, saved_direction, zipped

VECTOR = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
ROW = VECTOR.tobytes()
OBJECT = raw_npy(header("'|O'", shape="()"))
STRUCTURED = np.zeros(4, [("a", "<f4"), ("b", "<i4")])


class Runs:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


REFUSED = {
    "6.4.1 empty": (b"", "unsupported_format"),
    "6.4.2 objects": (npy(np.array([None, 3], object)), "unsupported_dtype"),
    "6.4.2 an object that runs": (OBJECT + pickle.dumps(Runs()), "unsafe_pickle"),
    "6.4.3 npz with an object": (npz(a=np.array({"b": 1}, object)), "unsupported_dtype"),
    "6.4.3 npz with an object that runs": (npz(a=np.array([Runs()], object)), "unsafe_pickle"),
    "6.4.5 code in the header": (
        raw_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }\n", ROW),
        "malformed",
    ),
    "6.4.5 another order in the header": (
        raw_npy("{'shape': (4,), 'descr': '<f4', 'fortran_order': False, }\n", ROW), "malformed",
    ),
    "6.4.6 header of 10 MB": (raw_npy(header() + " " * 10_000_000, ROW, (2, 0)), "too_large"),
    "6.4.7 version 9": (raw_npy(header(), ROW, (9, 0)), "unsupported_format"),
    "6.4.10 wrong length": (npy(np.ones(7, np.float32)), "wrong_shapes"),
    "6.4.10 wrong number of layers": (npy(np.ones((5, 4), np.float32)), "wrong_shapes"),
    "6.4.12 zeros": (npy(0 * VECTOR), "bad_tensor"),
    "6.4.12 zeros in a component": (npz(**cache(lat_comp=np.zeros((3, 1, 4), np.float32))), "bad_tensor"),
    "6.4.13 NaN": (npy(VECTOR * np.nan), "non_finite"),
    "6.4.14 infinity": (npy(np.array([1, np.inf, 0, 0])), "non_finite"),
    "6.4.14 infinity as float32": (npy(np.array([1, 1e300, 0, 0])), "non_finite"),
    "6.4.15 length 1e30": (npy(1e30 * VECTOR), "bad_tensor"),
    "6.4.16 complex": (npy(VECTOR.astype(np.complex64)), "unsupported_dtype"),
    "6.4.16 complex tensor": (pt(torch.ones(4, dtype=torch.complex64)), "unsupported_dtype"),
    "6.4.17 bool": (npy(VECTOR > 2), "unsupported_dtype"),
    "6.4.17 bool tensor": (pt(torch.ones(1, 4, dtype=torch.bool)), "unsupported_dtype"),
    "6.4.18 text": (npy(np.array(["a", "b", "c", "d"])), "unsupported_dtype"),
    "6.4.19 structured": (npy(STRUCTURED), "unsupported_dtype"),
    "6.4.20 0-d": (npy(np.float32(3)), "wrong_shapes"),
    "6.4.21 5-d": (npy(np.ones((1, 1, 1, 1, 4), np.float32)), "wrong_shapes"),
    "6.4.22 no numbers": (npy(np.ones((0, 4), np.float32)), "wrong_shapes"),
    "6.4.22 nothing at all": (npy(np.ones(0, np.float32)), "wrong_shapes"),
    "6.4.22 no numbers, square": (npy(np.ones((0, 0), np.float32)), "wrong_shapes"),
    "6.4.23 10^12 numbers": (raw_npy(header(shape="(1000000000000,)"), ROW), "truncated"),
    "6.4.23 10^12 numbers, as a column": (raw_npy(header(shape="(1000000000000, 1)"), ROW), "truncated"),
    "6.4.24 truncated": (npy(VECTOR)[:-1], "truncated"),
    "6.4.24 truncated in the header": (npy(VECTOR)[:9], "malformed"),
    "6.4.24 truncated archive": (npz(**cache())[:-30], "truncated"),
    "6.4.24 truncated tensor": (pt(torch.ones(4), old=True)[:-3], "truncated"),
    "6.4.25 trailing bytes": (npy(VECTOR) + b"x", "malformed"),
    "6.4.25 trailing bytes after a pickle": (saved_direction() + b"x", "malformed"),
    "6.4.26 a pickle of an array": (pickle.dumps([1.0, 2.0]), "unsupported_format"),
    "6.4.26 a pickle that runs": (pickle.dumps(Runs()), "unsafe_pickle"),
    "6.4.27 CSV with formulas": (b"name,v0,v1\n=cmd|' /C calc'!A0,1,2\n", "unsupported_format"),
    "6.4.28 CSV with commas for points": (b"name;v0;v1\nsmile;1,5;2,5\n", "unsupported_format"),
    "6.4.29 JSON with NaN": (b'{"smile": [NaN, 1, 2, 3]}', "unsupported_format"),
    "6.4.30 JSON with ragged lists": (json.dumps([[1, 2], [3]]).encode(), "unsupported_format"),
    "6.4.35 10,001 directions": (
        npz(packed=True, **cache(
            count=10_001, lat_comp=np.tile(VECTOR, (10_001, 1)), lat_stdev=np.full(10_001, 2.0)
        )),
        "too_large",
    ),
    "6.4.37 layers out of range": (boundary_file(VECTOR, "0-6"), "bad_config"),
    "6.4.37 listed layers out of range": (boundary_file(VECTOR, [0, 6]), "bad_config"),
    "6.4.38 no layers": (boundary_file(VECTOR, []), "bad_config"),
    "6.4.38 empty text for layers": (boundary_file(VECTOR, ""), "bad_config"),
    "6.4.38 an empty range": (saved_direction(edit_start=3, edit_end=3), "bad_config"),
    "6.4.38 a range behind the last layer": (saved_direction(edit_start=9, edit_end=12), "bad_config"),
    "6.4.39 negative layer": (boundary_file(VECTOR, [-1]), "bad_config"),
    "6.4.39 negative layer in a text": (boundary_file(VECTOR, "-1-3"), "bad_config"),
    "6.4.39 a range from a negative layer": (saved_direction(edit_start=-1), "bad_config"),
    "a name that is no text": (saved_direction(name=[]), "bad_config"),
    "a name that writes over lines": (saved_direction(name="a\rb"), "bad_config"),
    "a standard deviation of 400 digits": (saved_direction(lat_stdev=10**400), "bad_config"),
    "a range of strengths without end": (saved_direction(sigma_range=np.float64(1e300)), "bad_config"),
}  # fmt: skip


@pytest.mark.parametrize("content, code", REFUSED.values(), ids=list(REFUSED))
def test_a_bad_file_is_refused_with_its_reason(content, code):
    with pytest.raises(CheckpointError) as refusal:
        read_directions(content, ask(space=None))
    assert refusal.value.code == code and str(refusal.value)


def test_6_4_4_an_archive_is_not_unpacked_beyond_the_limit():
    bomb = npy(np.zeros(MAX_UNPACKED_BYTES // 4 + 1, np.float32))
    packed = zipped([("lat_comp.npy", bomb)])
    assert len(packed) < 1_000_000
    with pytest.raises(CheckpointError) as refusal:
        read_directions(packed, ask())
    assert refusal.value.code == "too_large"


def test_6_4_4_a_member_that_is_larger_than_it_says_is_refused():
    packed = bytearray(zipped([("lat_comp.npy", npy(np.zeros(100_000, np.float32)))]))
    for signature, at in (
        (b"PK\3\4", 22),
        (b"PK\1\2", 24),
    ):  # the sizes before the member and in the directory
        place = packed.index(signature) + at
        packed[place : place + 4] = (200).to_bytes(4, "little")
    with pytest.raises(CheckpointError) as refusal:
        read_directions(bytes(packed), ask())
    assert refusal.value.code in ("bad_container", "truncated", "malformed")


@pytest.mark.parametrize("array", [
    VECTOR.astype(">f4"), VECTOR.astype(">f8"), VECTOR.astype("<f2"), VECTOR.astype("<f8"), VECTOR[0],
])  # fmt: skip
def test_6_4_8_numbers_of_another_machine_are_converted(array):
    [found] = read_directions(npy(array), ask(space="w"))
    assert found.vector.tolist() == [1, 2, 3, 4] and found.vector.dtype == torch.float32


def test_6_4_9_columns_may_come_first():
    ws = np.arange(24, dtype=np.float32).reshape(6, 4)
    [found] = read_directions(npy(np.asfortranarray(ws)), ask())
    assert b"'fortran_order': True" in npy(np.asfortranarray(ws))
    assert found.space is Space.W_PLUS and torch.equal(found.vector, torch.from_numpy(ws))


@pytest.mark.parametrize("content, asked", [
    (npy(VECTOR), "w+"), (npy(np.ones((6, 4), np.float32)), "w"), (boundary_file(VECTOR), "w+"),
    (boundary_file(np.ones((1, 6, 4), np.float32)), "w"), (npz(**cache()), "w+"),
])  # fmt: skip
def test_6_4_11_both_spaces_are_named_when_one_is_given_where_the_other_is_meant(content, asked):
    with pytest.raises(CheckpointError) as refusal:
        read_directions(content, ask(space=asked))
    assert refusal.value.code == "wrong_shapes"
    assert {"w", "w+"} <= set(re.findall(r"\bw\b\+?", str(refusal.value)))


@pytest.mark.parametrize("name", [
    "../smile", "a/b", "..", "a..b", "", "Smile", "smile\n", "a\\b", "\u017fmile", "a smile", "-smile",
])  # fmt: skip
def test_6_4_32_a_name_that_could_be_a_path_is_refused(name):
    with pytest.raises(CheckpointError, match="no name"):
        read_directions(npy(VECTOR), ask(name, space="w"))


def test_6_4_33_a_name_has_at_most_64_characters_also_with_its_number():
    assert read_directions(npy(VECTOR), ask("a" * 64, space="w"))[0].name == "a" * 64
    for content, name in ((npy(VECTOR), "a" * 65), (npz(**cache()), "a" * 63)):
        with pytest.raises(CheckpointError, match="no name"):
            read_directions(content, ask(name, space="w"))


def test_files_over_the_limit_are_refused_before_they_are_read():
    with pytest.raises(CheckpointError) as refusal:
        read_directions(b"\x93NUMPY" + bytes(MAX_BYTES), ask())
    assert refusal.value.code == "too_large"


@pytest.mark.parametrize("array", [VECTOR, np.ones((6, 4), np.float32), np.eye(3, dtype=np.float32)])
def test_a_model_without_w_takes_nothing_of_it(array):
    target = type(SMALL)(z_dim=3)
    with pytest.raises(CheckpointError) as refusal:
        read_directions(npy(array), ask(target=target, space="w"))
    assert refusal.value.code == "wrong_shapes"


def test_lists_that_hold_themselves_are_refused():
    loop = [1.0]
    loop.append(loop)
    with pytest.raises(CheckpointError, match="nested"):
        read_directions(pickle.dumps(loop), ask())


def test_any_change_of_a_byte_is_a_refusal_or_another_direction_never_a_crash():
    rng = np.random.RandomState(0)
    files = [
        npy(VECTOR), boundary_file(VECTOR), npz(**cache()), npz(packed=True, **cache()), saved_direction(),
        pt(torch.ones(1, 4)), pt(torch.ones(1, 4), old=True), pt({"eigvec": torch.eye(4), "ckpt": "x"}),
    ]  # fmt: skip
    for content in files:
        assert read_directions(content, ask(space="w"))
        for place in rng.randint(len(content), size=150):
            changed = bytearray(content)
            changed[place] = rng.randint(256)
            try:
                found = read_directions(bytes(changed), ask(space="w"))
            except CheckpointError:
                continue
            assert all(d.vector.isfinite().all() for d in found)
