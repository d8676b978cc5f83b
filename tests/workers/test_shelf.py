import os
import time
from pathlib import Path

import pytest

from generative.cards import CARD
from jobs.blobs.memory import MemoryBlobStore
from jobs.store import ModelRow
from workers.shelf import KEPT_S, Shelf

BYTES = 1000  # of a model


@pytest.fixture
def blobs() -> MemoryBlobStore:
    return MemoryBlobStore()


def bring(shelf: Shelf, blobs: MemoryBlobStore, name: str, tenant: str = "t") -> Path:
    row = ModelRow(name, "abc", f"t/{tenant}/m/{name}/abc/", {})
    for file in (CARD, "weights.safetensors"):
        if not list(blobs.list(row.prefix + file)):
            blobs.write(row.prefix + file, bytes(BYTES // 2), media_type="application/octet-stream")
    folder = shelf.place(tenant, row)
    shelf.bring(row, folder)
    return folder


def age(folder: Path, seconds: float) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


def test_the_models_used_longest_ago_are_removed_when_one_more_is_fetched(
    tmp_path: Path, blobs: MemoryBlobStore
) -> None:
    shelf = Shelf(tmp_path, blobs, budget_bytes=2 * BYTES)
    a, b = bring(shelf, blobs, "a"), bring(shelf, blobs, "b", tenant="other")
    for folder, seconds in ((a, 3 * KEPT_S), (b, 2 * KEPT_S)):
        age(folder, seconds)
    bring(shelf, blobs, "a")  # used once more
    c = bring(shelf, blobs, "c")
    assert a.is_dir() and c.is_dir() and not b.exists()
    assert [path for path in tmp_path.rglob(".*")] == []
    assert (bring(shelf, blobs, "b", tenant="other") / "weights.safetensors").stat().st_size == BYTES // 2


def test_a_model_that_may_be_in_use_stays_whatever_it_weighs(tmp_path: Path, blobs: MemoryBlobStore) -> None:
    shelf = Shelf(tmp_path, blobs, budget_bytes=1)
    folders = [bring(shelf, blobs, name) for name in "ab"]
    assert all(folder.is_dir() for folder in folders)
    for folder in folders:
        age(folder, 2 * KEPT_S)
    bring(shelf, blobs, "c")
    assert not any(folder.exists() for folder in folders)


def test_what_a_crash_has_left_goes_with_the_rest(tmp_path: Path, blobs: MemoryBlobStore) -> None:
    shelf = Shelf(tmp_path, blobs, budget_bytes=2 * BYTES)
    draft = bring(shelf, blobs, "a").parent / ".draft-x"
    draft.mkdir()
    (draft / "weights.safetensors").write_bytes(bytes(BYTES))
    age(draft, 2 * KEPT_S)
    bring(shelf, blobs, "b")
    assert not draft.exists()
