"""Pickles that try to run something, in each container. Numbers as in the list of bad checkpoints.

The `forge` fixture fails every test after which the canary exists.
"""

import io
import os
import pickle
import struct
import sys

import pytest


class Command:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


PROGRAMS = {
    "1-os-system": lambda f: pickle.dumps(Command(f.canary), 2),
    "1-os-system-protocol-4": lambda f: pickle.dumps(Command(f.canary), 4),
    "3-import-module": lambda f: f.call("importlib", "import_module", "os"),
    "4-mailcap": lambda f: f.call("mailcap", "findmatch", "x", f"touch {f.canary}"),
    "5-torch-hub": lambda f: f.call("torch.hub", "load", f"{f.folder}", "x"),
    "6-dict-config": lambda f: b"\x80\x02clogging.config\ndictConfig\n(}tR.",
    "7-numpy-load": lambda f: f.call("numpy", "load", f"{f.folder}/x.npy"),
    "8-resolve-name": lambda f: f.call("pkgutil", "resolve_name", "os:system"),
    "9-stack-global-from-memo": lambda f: (
        b"\x80\x04" + f.text("os") + b"\x94" + f.text("system") + b"\x94" + b"00" + b"h\x00h\x01\x93"
        + f.text(f"touch {f.canary}") + b"\x85R."
    ),
    "9-stack-global-of-odd-types": lambda f: b"\x80\x04K\x01K\x02\x93.",
    "9-stack-global-of-a-dotted-name": lambda f: (
        b"\x80\x04" + f.text("collections") + f.text("OrderedDict.fromkeys") + b"\x93."
    ),
    "10-getattr": lambda f: f.call("builtins", "getattr", "x", "__class__"),
    "10-attrgetter": lambda f: f.call("operator", "attrgetter", "system"),
    "11-build-on-a-dict": lambda f: b"\x80\x02}" + b"}" + f.text("__setstate__") + f.text("x") + b"sb.",
    "11-build-on-a-class": lambda f: (
        b"\x80\x02ccollections\nOrderedDict\n}" + f.text("__reduce__") + f.text("x") + b"sb."
    ),
    "12-odd-persistent-id": lambda f: b"\x80\x02(" + f.text("module") + f.text("x") + b"tQ.",
    "12-persistent-id-of-a-number": lambda f: b"\x80\x02K\x07Q.",
    "12-old-persistent-id": lambda f: b"\x80\x02Pstorage\n.",
    "13-ext": lambda f: b"\x80\x02\x82\x01.",
    "13-ext4": lambda f: b"\x80\x02\x84\x01\x00\x00\x00.",
    "14-broken-after-payload": lambda f: pickle.dumps(Command(f.canary), 2)[:-1] + b"\xff\xff",
    "15-payload-then-valid": lambda f: pickle.dumps(Command(f.canary), 2) + f.nvlabs(),
    "inst": lambda f: b"\x80\x02(" + f.text(f"touch {f.canary}") + b"ios\nsystem\n.",
    "obj": lambda f: b"\x80\x02(cos\nsystem\n" + f.text(f"touch {f.canary}") + b"o.",
    "newobj": lambda f: b"\x80\x02csubprocess\nPopen\n" + f.text(f"touch {f.canary}") + b"\x85\x81.",
    "calls-a-text": lambda f: b"\x80\x02" + f.text("os.system") + f.text(f"touch {f.canary}") + b"\x85R.",
    "calls-a-storage-type": lambda f: b"\x80\x02ctorch\nFloatStorage\n(K\x05tR.",
}  # fmt: skip


def as_zip(forge, program):
    return forge.zip_of([("x/data.pkl", program), ("x/version", b"3\n")])


def as_stream(forge, program):
    genuine = io.BytesIO(forge.rosinality(zip_container=False))
    for _ in range(3):  # magic number, protocol, system
        pickle.load(genuine)
    return genuine.getvalue()[: genuine.tell()] + program + pickle.dumps([], 2)


def as_nested_storage(forge, program):
    """Where an NVlabs pickle keeps its numbers: a torch stream within the pickle."""
    stream = as_stream(forge, program)
    inner = b"B" + struct.pack("<I", len(stream)) + stream
    return b"\x80\x03ctorch.storage\n_load_from_bytes\n" + inner + b"\x85R."


@pytest.mark.parametrize("wrap", [lambda f, p: p, as_zip, as_stream, as_nested_storage],
                         ids=["2-raw", "zip", "stream", "nested"])  # fmt: skip
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_are_refused_in_every_container(forge, program, wrap):
    modules = set(sys.modules)
    assert forge.refusal(wrap(forge, program(forge))) == "unsafe_pickle"
    assert not {"mailcap", "torch.hub", "logging.config"} & (set(sys.modules) - modules)


def test_the_canary_would_show_if_something_ran(tmp_path):
    pickle.loads(pickle.dumps(Command(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_a_payload_beside_a_genuine_network_is_refused(forge):
    assert forge.refusal(forge.nvlabs(extra={"zzz": Command(forge.canary)})) == "unsafe_pickle"


def test_bytes_after_a_genuine_pickle_are_refused(forge):
    assert forge.refusal(forge.nvlabs() + pickle.dumps(Command(forge.canary))) == "malformed"
