"""Files that are either the old ones or the new ones, whatever happens while they are written."""

import os
from pathlib import Path
from typing import Any

import torch


def write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Nested dictionaries of tensors, numbers and strings, for `torch.load(..., weights_only=True)`."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
