"""Imported models on the worker's disk: fetched from the blobs once for each sha256, and removed again, those
used longest ago first, when their files pass a budget.

<folder>/<tenant>/<name>/<sha256>/   the files; its time of change is when it was used last

Several workers may share the folder. What was used within `KEPT_S` stays, for somebody may be reading it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from generative.cards import CARD
from jobs.blobs import BlobStore, fetch
from jobs.errors import UnknownModel
from jobs.store import ModelRow

KEPT_S = 600.0


class Shelf:
    def __init__(self, folder: Path, blobs: BlobStore, budget_bytes: int) -> None:
        self._folder, self._blobs, self._budget_bytes = folder, blobs, budget_bytes

    def place(self, tenant: str, row: ModelRow) -> Path:
        """Where the files are, or will be."""
        return self._folder / tenant / row.name / row.sha256

    def bring(self, row: ModelRow, folder: Path) -> None:
        """Have the files there, from the blobs if need be. One thread at a time for each folder. Raises
        UnknownModel if they are gone.
        """
        if is_model(folder):
            os.utime(folder)
            return
        self._fetch(row, folder)
        self._make_room()

    def _fetch(self, row: ModelRow, folder: Path) -> None:
        """The folder appears when it is complete."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
        try:
            for key in self._blobs.list(row.prefix):
                path = draft / key.removeprefix(row.prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                fetch(self._blobs, key, path)
            if not is_model(draft):
                raise UnknownModel(f"The files of the model {row.name!r} are gone.")
            shutil.rmtree(folder, ignore_errors=True)  # what an older fetch left unfinished
            draft.rename(folder)
            os.utime(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _make_room(self) -> None:
        found = sorted(self._standing())
        left = sum(size for _, size, _ in found)
        for used_at, size, folder in found:
            if left <= self._budget_bytes or used_at > time.time() - KEPT_S:
                return
            _remove(folder)
            left -= size

    def _standing(self) -> Iterator[tuple[float, int, Path]]:
        """When it was used last, its bytes, and where it is; drafts that a crash has left, too."""
        for folder in self._folder.glob("*/*/*"):
            with suppress(FileNotFoundError):  # another worker was faster
                sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
                yield folder.stat().st_mtime, sum(sizes), folder


def _remove(folder: Path) -> None:
    """Nobody sees half of it."""
    gone = folder.with_name(f".gone-{uuid4().hex}")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone)


def is_model(folder: Path) -> bool:
    return (folder / CARD).is_file()
