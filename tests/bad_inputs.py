"""Which of the numbered bad inputs is shown by which tests.

`python -m tests.bad_inputs > docs/bad_inputs.md` writes the page; `test_bad_inputs` compares it.

`bad_inputs.txt` is the list, a number and a line each. Tests cite numbers as `6.1.4`, in their names as
`test_6_1_4_…`; those of checkpoints (6.3) and webhooks (6.5) leave the section out. What no test cites is in
ELSEWHERE, with the test that shows it, or in NOT_HERE, with the reason.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
LIST = TESTS / "bad_inputs.txt"
SECTIONS = {
    "6.1": "HTTP bodies",
    "6.2": "Images",
    "6.3": "Checkpoints",
    "6.4": "Direction files",
    "6.5": "Webhooks",
    "6.6": "Ids",
    "6.7": "Pagination and filters",
    "6.8": "Headers and authentication",
}
TITLE = """# Bad inputs and the answers they get

{count} ways to send something wrong, by number, each with the answer that it must get: a status, where it
says so, of a problem document (RFC 9457) with a stable `code`, never a 5xx, and nothing left behind. The last
column names the test files that show it, under `tests/`: {shown} are shown so. The others say why not.
This page is written by `python -m tests.bad_inputs` from the tests themselves, and a test compares the two.
"""
_JOBS, _CURSORS, _LIST = "api/test_jobs.py", "api/test_cursors.py", "jobs/store/test_list.py"
ELSEWHERE = {
    "6.2.42": ("workers/test_faces.py", "test_of_two_faces_the_larger_is_taken"),
    "6.3.2": ("generative/checkpoints/test_programs.py", "test_programs_are_refused_in_every_container"),
    "6.5.43": ("api/test_webhooks.py", "test_43_the_twenty_first_webhook_is_refused"),
    "6.6.10": ("api/test_matrix.py", "test_a_foreign_id_is_as_absent_as_an_unknown_one"),
    "6.6.11": (_JOBS, "test_delete_removes_a_finished_job_and_its_files"),
    "6.6.30": (_JOBS, "test_cancel_stops_a_queued_job_at_once_and_twice_is_fine"),
    "6.6.31": (_JOBS, "test_cancel_of_a_finished_job_is_409"),
    "6.6.32": ("jobs/store/test_claim.py", "test_cancel_against_finish_has_one_winner"),
    "6.6.36": (_JOBS, "test_retry_of_any_other_job_is_409"),
    "6.6.38": (_JOBS, "test_delete_removes_a_finished_job_and_its_files"),
    "6.7.9": (_CURSORS, "test_every_changed_character_is_refused"),
    "6.7.11": (_CURSORS, "test_another_list_tenant_or_filter_is_refused"),
    "6.7.12": (_JOBS, "test_a_cursor_is_good_for_its_own_filters_only"),
    "6.7.13": (_CURSORS, "test_a_cursor_lives_for_a_day"),
    "6.7.14": (_JOBS, "test_a_cursor_of_a_deleted_row_goes_on"),
    "6.7.17": (_JOBS, "test_jobs_submitted_while_paging_disturb_nothing"),
    "6.7.18": (_LIST, "test_equal_times_are_ordered_by_id"),
    "6.7.19": (_JOBS, "test_an_empty_list_is_a_page_without_a_next_one"),
    "6.7.20": (_JOBS, "test_a_last_page_that_is_full_has_no_next_one"),
    "6.7.23": (_JOBS, "test_filters_narrow_the_list"),
    "6.7.31": (_JOBS, "test_filters_narrow_the_list"),
    "6.7.36": (_JOBS, "test_head_has_the_headers_of_get_and_no_body"),
}
NO_FACES = "Faces are looked for when the job runs: it fails, `no_face`."
NOT_HERE = {
    "6.2.41": NO_FACES,
    "6.3.44": "A model is named by its tenant and name; the same file under two names is two models.",
    "6.6.33": "There is no address for results: a job holds its outputs, and a running one has none.",
    "6.6.34": "There is no address for results: a failed job holds its error, and is answered with 200.",
    "6.6.37": "Models cannot be deleted over HTTP.",
    "6.7.32": "No filter takes a pattern: every one is compared as it is (6.7.31).",
    "6.8.41": "A second request waits for the first and gets the same answer (jobs/store/test_submit.py).",
}


def listed() -> dict[str, str]:
    """What each number is, in the order of the list."""
    return dict(line.split(" ", 1) for line in LIST.read_text().splitlines())


@cache
def cited() -> dict[str, set[str]]:
    """By number: the test files that cite it, relative to the tests."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(TESTS.rglob("*.py")):
        if path.name.startswith("bad_inputs") or path.name == "test_bad_inputs.py":
            continue
        name = path.relative_to(TESTS).as_posix()
        for number in _numbers(name, path.read_text()):
            found[number].add(name)
    return found


def _numbers(name: str, text: str) -> Iterator[str]:
    for section, number in re.findall(r"\b(6\.[1-8])\.(\d+)", text):
        yield f"{section}.{number}"
    for section, numbers in re.findall(r"def test_6_([1-8])_(\d+(?:_(?:and_)?\d+)*)", text):
        yield from (f"6.{section}.{number}" for number in re.findall(r"\d+", numbers))
    own = {"generative/checkpoints/": "6.3", "jobs/webhooks/": "6.5"}
    for folder, section in own.items():
        if not name.startswith(folder):
            continue
        cases = r'^\s*"(\d+)-[a-z]' if section == "6.3" else r"^\s*(?:\*\()*\((\d+), f?\""
        for number in re.findall(cases, text, re.MULTILINE):
            yield f"{section}.{number}"
        for numbers in re.findall(r"def test_(\d+(?:_\d+)*)_", text):
            yield from (f"{section}.{number}" for number in numbers.split("_"))


def shown() -> dict[str, str]:
    """By number: the tests that show it."""
    found = {number: ", ".join(f"`{name}`" for name in sorted(names)) for number, names in cited().items()}
    return {number: f"`{file}`" for number, (file, _) in ELSEWHERE.items()} | found


def why_not() -> dict[str, str]:
    """By number that no test shows: why."""
    by = shown()
    return {number: why for number, why in NOT_HERE.items() if number not in by}


def page() -> str:
    known, by = listed(), shown()
    proved = sum(number in by for number in known)
    cells = why_not() | by
    parts = [TITLE.format(count=len(known), shown=proved)]
    for section, about in SECTIONS.items():
        rows = [number for number in known if number.startswith(f"{section}.")]
        parts.append(f"\n## {section} {about}\n\n| number | what → answer | tests |\n| --- | --- | --- |\n")
        parts += [f"| {number} | {_cell(known[number])} | {cells[number]} |\n" for number in rows]
    return "".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
