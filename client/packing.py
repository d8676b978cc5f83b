"""Checkpoints of several files, such as a folder, as the one file that is sent: a zip without compression."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLASSES = "classes.txt"  # by this name the service finds the names of the classes
WHEN = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive


@contextmanager
def packed(checkpoint: Path, classes: Path | None = None) -> Iterator[Path]:
    """The file to send for a checkpoint, which may be a file or a folder.

    Args:
        classes: a text file with the name of each class on a line, in order.
    """
    if classes is None and not checkpoint.is_dir():
        yield checkpoint
        return
    files = sorted(p for p in checkpoint.iterdir() if p.is_file()) if checkpoint.is_dir() else [checkpoint]
    members = {file.name: file for file in files if not file.name.startswith(".")}
    if classes is not None:
        members[CLASSES] = classes
    with tempfile.TemporaryDirectory(prefix="ganserve-") as place:
        archive = Path(place) / "checkpoint.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
            for name, file in members.items():
                info = zipfile.ZipInfo(name, WHEN)
                info.file_size = file.stat().st_size
                with file.open("rb") as source, target.open(info, "w") as sink:
                    while piece := source.read(2**20):
                        sink.write(piece)
        yield archive
