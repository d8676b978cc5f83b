"""Containers that lie, or hold something else. Numbers as in the list of bad checkpoints."""

import io
import stat
import struct
import tarfile
import zipfile

import pytest


def replaced(content, old, new, count=1):
    assert old in content
    return content.replace(old, new, count)


def with_member(**options):
    def build(forge):
        members = forge.members()
        return forge.zip_of([*members, (options["name"], b"x")], change=options.get("change"))

    return build


def make_link(info):
    if info.filename.endswith("link"):
        info.external_attr = (stat.S_IFLNK | 0o777) << 16


def flags_altered(forge):
    content = bytearray(forge.rosinality())
    content[6] |= 1  # the first local header says: encrypted
    return bytes(content)


def wrong_crc(forge):
    content = forge.rosinality()
    start = zipfile.ZipFile(io.BytesIO(content)).getinfo("archive/data/0").header_offset
    place = content.index(forge.state["synthesis.b4.const"].numpy().tobytes()[:64], start)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def wrong_local_name(forge):
    content = forge.rosinality()
    return replaced(content, b"archive/data/1", b"archive/data/X")  # the first is in the local header


def duplicate(forge):
    members = forge.members()
    with pytest.warns(UserWarning, match="Duplicate"):
        return forge.zip_of([*members, members[-1]])


def bomb(forge):
    return forge.zip_of([*forge.members(), ("archive/data/zeros", bytes(2**27))], zipfile.ZIP_DEFLATED)


def lying_zip64(forge):
    """The directory's zip64 record says that a member of one byte has a terabyte."""

    def grow(info):
        if info.filename.endswith("liar"):
            info.extra = struct.pack("<HHQQ", 1, 16, 2**40, 2**40)

    content = with_member(name="archive/liar", change=grow)(forge)
    place = content.rindex(b"PK\x01\x02")
    return content[: place + 20] + b"\xff" * 8 + content[place + 28 :]  # both sizes: "see the zip64 record"


CONTAINERS = {
    "16-crc": (wrong_crc, "bad_container"),
    "17-flags": (flags_altered, "bad_container"),
    "18-local-name": (wrong_local_name, "bad_container"),
    "19-duplicate": (duplicate, "bad_container"),
    "20-parent": (with_member(name="archive/../../evil"), "bad_container"),
    "21-absolute": (with_member(name="/etc/evil"), "bad_container"),
    "21-drive": (with_member(name="C:evil"), "bad_container"),
    "21-link": (with_member(name="archive/link", change=make_link), "bad_container"),
    "22-bomb": (bomb, "bad_container"),
    "23-zip64": (lying_zip64, "bad_container"),
    "24-7z": (lambda f: b"7z\xbc\xaf\x27\x1c" + bytes(100), "unsupported_format"),
    "25-torchscript": (
        lambda f: f.zip_of([*f.members(), ("archive/constants.pkl", b"\x80\x02).")]),
        "unsupported_format",
    ),
    "26-tar": (lambda f: tar_of({"sys_info": b"x", "pickle": b"x"}), "unsupported_format"),
    "27-html": (lambda f: b"<!DOCTYPE html><html>404 not found</html>", "unsupported_format"),
    "plain-zip": (lambda f: f.zip_of([("readme.txt", b"hello")]), "unsupported_format"),
    "empty": (lambda f: b"", "unsupported_format"),
    "something-before-the-zip": (lambda f: zip_in_front(f), "bad_container"),
    "39-zip-cut": (lambda f: f.rosinality()[:-100], "truncated"),
    "39-pickle-cut": (lambda f: f.nvlabs()[:-5000], "truncated"),
    "39-stream-cut": (lambda f: f.rosinality(zip_container=False)[:-100], "truncated"),
}


def zip_in_front(forge):
    """Two archives one after the other: readers differ in which of them they take."""
    return forge.zip_of([("x/data.pkl", b"N.")]) + forge.rosinality()


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("build, code", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_that_lie_or_are_something_else_are_refused(forge, build, code):
    assert forge.refusal(build(forge)) == code
