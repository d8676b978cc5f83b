"""Zip archives as torch writes them: members stored, not compressed. Everything else about a zip is refused.

A zip says most things twice, in its directory and before each member, and programs differ in which they
believe; an archive that contradicts itself is how one file means two things. So all of it must agree here,
and every byte of a member lies inside the file: what an archive declares can never be more than what it
holds.
"""

import io
import re
import stat
import struct
import zipfile
import zlib

from generative.checkpoints.errors import CheckpointError

_LOCAL = struct.Struct("<4s5H3L2H")  # signature, version, flags, method, time, date, crc, sizes, name, extra
_DESCRIPTOR, _UTF8 = 0x0008, 0x0800  # the flags that torch sets: sizes come after the data, names are UTF-8
MAX_MEMBERS = 100_000


def read_members(content: bytes) -> dict[str, memoryview]:
    """Every member of the archive by name, as views of the file.

    Raises:
        CheckpointError: `bad_container`, `truncated`.
    """
    try:
        directory = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
        raise CheckpointError("truncated", f"no complete zip archive: {error}") from None
    if len(directory) > MAX_MEMBERS:
        raise CheckpointError("bad_container", f"the archive has more than {MAX_MEMBERS} members")
    members: dict[str, memoryview] = {}
    end = 0
    for info in sorted(directory, key=lambda i: i.header_offset):
        if info.filename in members:
            raise CheckpointError("bad_container", f"two members are called {info.filename[:100]!r}")
        _check_directory_entry(info, len(content))
        start = _check_local_header(info, content)
        if info.header_offset < end or (not members and info.header_offset != 0):
            raise CheckpointError("bad_container", "members overlap, or something precedes them")
        end = start + info.file_size
        members[info.filename] = _checked(info, memoryview(content)[start:end])
    return members


def _check_directory_entry(info: zipfile.ZipInfo, total: int) -> None:
    name = info.orig_filename
    if re.match(r"/|[A-Za-z]:", name) or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise CheckpointError("bad_container", f"a member has the path {name[:100]!r}")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise CheckpointError("bad_container", f"{name[:100]!r} is a symbolic link")
    if info.flag_bits & ~(_DESCRIPTOR | _UTF8):
        raise CheckpointError("bad_container", f"{name[:100]!r} has the flags {info.flag_bits:#x}")
    if info.file_size > total:
        raise CheckpointError("bad_container", f"{name[:100]!r} declares more bytes than the file has")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise CheckpointError("bad_container", f"{name[:100]!r} is compressed, which torch never does")


def _check_local_header(info: zipfile.ZipInfo, content: bytes) -> int:
    """Where the member's bytes begin."""
    head = content[info.header_offset : info.header_offset + _LOCAL.size]
    if len(head) < _LOCAL.size:
        raise CheckpointError("truncated", "the archive ends inside of a header")
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(head)
    start = info.header_offset + _LOCAL.size + name_length
    name = content[start - name_length : start]
    later = bool(flags & _DESCRIPTOR)
    agrees = (
        signature == b"PK\3\4"
        and flags == info.flag_bits
        and method == info.compress_type
        and name == info.orig_filename.encode("utf-8" if flags & _UTF8 else "cp437")
        and (crc == info.CRC or (later and crc == 0))
        and all(n == info.file_size or (later and n == 0) or n == 0xFFFFFFFF for n in (packed, size))
    )
    if not agrees:
        raise CheckpointError("bad_container", f"{info.filename[:100]!r} is described in two different ways")
    return int(start + extra_length)


def _checked(info: zipfile.ZipInfo, member: memoryview) -> memoryview:
    if len(member) != info.file_size:
        raise CheckpointError("truncated", f"{info.filename[:100]!r} is not complete")
    if zlib.crc32(member) != info.CRC:
        raise CheckpointError("bad_container", f"the checksum of {info.filename[:100]!r} is wrong")
    return member
