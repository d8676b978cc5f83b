"""Broken safetensors files, and damage anywhere in any format. Numbers as in the list of bad checkpoints."""

import json
import struct
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors.torch import save

from generative.checkpoints import CheckpointError, import_checkpoint


def safetensors(header, content=b"", length=None):
    raw = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + content


def entry(start, end, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - start) // 4], "data_offsets": [start, end]}


def ours(forge, state=None, config=None):
    return save(
        state or forge.state, metadata={"config": config or json.dumps(asdict(forge.generator.config))}
    )


SAFETENSORS = {
    "41-header-length-2^63": (lambda f: safetensors(b"{}", length=2**63), "bad_container"),
    "41-header-length-1-MB-too-much": (lambda f: safetensors(b"{}", length=2**20), "bad_container"),
    "42-overlap": (lambda f: safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "bad_container"),
    "42-gap": (lambda f: safetensors({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "bad_container"),
    "42-bytes-left-over": (lambda f: safetensors({"a": entry(0, 4)}, bytes(12)), "bad_container"),
    "43-header-bomb": (lambda f: safetensors(b"{" + b" " * 3_000_000 + b"}"), "bad_container"),
    "not-json": (lambda f: safetensors(b"{hello"), "bad_container"),
    "no-config": (lambda f: save(f.state), "unsupported_format"),
    "broken-config": (lambda f: ours(f, config="{"), "bad_config"),
    "config-is-a-list": (lambda f: ours(f, config="[]"), "bad_config"),
    "unknown-field": (lambda f: ours(f, config='{"img_resolution": 16, "x": 1}'), "bad_config"),
    "32-nan": (lambda f: ours(f, f.state | {"mapping.w_avg": torch.full((10,), float("nan"))}), "non_finite"),
    "33-int8": (lambda f: ours(f, f.state | {"x": torch.zeros(1, dtype=torch.int8)}), "unsupported_dtype"),
    "34-missing": (lambda f: ours(f, {"mapping.w_avg": torch.zeros(10)}), "missing_keys"),
    "39-cut": (lambda f: ours(f)[:-10], "bad_container"),
}


@pytest.mark.parametrize("build, code", SAFETENSORS.values(), ids=SAFETENSORS)
def test_broken_safetensors_are_refused(forge, build, code):
    assert forge.refusal(build(forge)) == code


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_read_or_refused_but_never_breaks_the_reader(forge, seed):
    rng = np.random.RandomState(seed)
    genuine = [
        forge.nvlabs,
        forge.rosinality,
        lambda: forge.rosinality(zip_container=False),
        lambda: ours(forge),
    ]
    content = bytearray(genuine[seed % 4]())
    for _ in range(rng.randint(1, 5)):
        content[rng.randint(min(len(content), 4000))] = rng.randint(256)
    try:
        import_checkpoint(forge.write(bytes(content)))
    except CheckpointError:
        pass
