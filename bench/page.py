"""Pages of docs/ that a study fills with what it measured.

A mark is a comment `<!-- measured: NAME -->`; its table ends at the next `<!-- end -->`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from generative.training.atomic import write_text

END = "<!-- end -->"


def fill(page: Path, contents: Mapping[str, str]) -> None:
    """Put the tables into the page. Raises ValueError for a mark that it lacks."""
    text = page.read_text()
    for mark, table in contents.items():
        before, found, rest = text.partition(f"<!-- measured: {mark} -->\n")
        if not found:
            raise ValueError(f"{page} has no place for the table {mark!r}")
        text = f"{before}{found}{table}\n{rest[rest.index(END) :]}"
    write_text(page, text)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], words: int) -> str:
    """The first `words` columns are words, the others numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])
