"""Tar files in USTAR whose bytes follow from their members alone: no times, no owners."""

import tarfile
from typing import BinaryIO

BLOCK = 512


class TarWriter:
    """Writes to an open file, from its beginning; `close` ends the archive, not the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0

    def add(self, name: str, body: bytes) -> int:
        """Append a member; returns where its bytes begin, for those who read ranges."""
        member = tarfile.TarInfo(name)
        member.size = len(body)
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        start = self._at
        self._write(body)
        self._write(bytes(-len(body) % BLOCK))
        return start

    def close(self) -> None:
        self._write(bytes(2 * BLOCK))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._at += len(data)
