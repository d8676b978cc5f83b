"""The page of promises names tests that exist, and each of its failure modes once."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 40
    for file, name in named:
        path = TESTS / file if (TESTS / file).exists() else TESTS.parent / file
        assert name is None or name == "" or f"def {name}(" in path.read_text(), (file, name)


def test_every_failure_mode_has_its_row():
    rows = re.findall(r"^\| (\d+) \| .* \| .* \| .*\|$", PAGE.split("## Failure modes")[1], re.MULTILINE)
    assert rows == [str(number) for number in range(1, 36)]
