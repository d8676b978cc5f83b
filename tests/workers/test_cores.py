"""How many cores a worker takes to be its own."""

import os
from pathlib import Path

import pytest

from workers.cores import cores

OURS = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", OURS),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("190000 100000\n", 1),
        ("100000000 100000\n", OURS),
        ("", OURS),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path / "cpu.max") == expected


def test_without_a_container_it_is_the_affinity(tmp_path: Path) -> None:
    assert cores(tmp_path / "none") == OURS
