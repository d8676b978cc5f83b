import ast
import inspect
import re
from pathlib import Path

import pytest

import jobs.errors
from api.problems import BRANCHES, CODES, HttpProblem, problem
from jobs.errors import GanserveError, JobFailed

ROOT = Path(__file__).parents[2]
# met by workers, or told in a job that has ended
NEVER_ANSWERED = {"bad_key", "bucket_refused", "blob_exists", "job_failed", "parts_failed", "worker_lost"}
ERRORS = [
    error
    for _, error in inspect.getmembers(jobs.errors, inspect.isclass)
    if issubclass(error, GanserveError) and not issubclass(error, JobFailed)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_its_row(error: type[GanserveError]) -> None:
    assert error.code in CODES


def literals(path: Path) -> set[str]:
    """Every code that the file names: `code="…"`, and the first argument of `HttpProblem`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            named = [k.value for k in node.keywords if k.arg == "code"]
            first = node.args[:1] if getattr(node.func, "id", "") == "HttpProblem" else []
            found |= {
                n.value for n in named + first if isinstance(n, ast.Constant) and isinstance(n.value, str)
            }
    return found


def test_every_code_that_the_gateway_can_meet_is_in_the_table() -> None:
    sources = [*(ROOT / "api").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]
    used = set().union(*(literals(path) for path in sources))
    assert len(used) > 20
    assert used - set(CODES) == NEVER_ANSWERED


def test_every_branch_answers_with_a_row() -> None:
    assert set(BRANCHES.values()) <= set(CODES)


def test_a_code_that_is_not_in_the_table_answers_as_its_branch() -> None:
    assert problem(jobs.errors.Conflict("x", code="new")).code == "conflict"
    assert problem(JobFailed("x", code="diverged")).code == "internal_error"


def test_statuses_fit_their_codes() -> None:
    assert all(400 <= entry.status < 600 and entry.title for entry in CODES.values())
    assert problem(HttpProblem("gone", "x")).detail == "x"


def test_every_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert dict(rows) == {code: str(entry.status) for code, entry in CODES.items()}
