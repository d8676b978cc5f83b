from pathlib import Path

import pytest

from bench.page import fill, markdown


def test_a_page_is_filled_between_its_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: x -->\n<!-- end -->\nb\n<!-- measured: y -->\nold\n<!-- end -->\n")
    for _ in range(2):
        fill(page, {"x": "| 1 |", "y": "| 2 |"})
    marked = "a\n<!-- measured: x -->\n| 1 |\n<!-- end -->\nb\n<!-- measured: y -->\n| 2 |\n<!-- end -->\n"
    assert page.read_text() == marked
    with pytest.raises(ValueError, match="no place for the table 'z'"):
        fill(page, {"z": ""})


def test_words_stand_left_and_numbers_right() -> None:
    assert markdown(["a", "b"], [["x", "1"]], words=1) == "| a | b |\n| --- | ---: |\n| x | 1 |"
