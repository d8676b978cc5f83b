"""Many jobs at once in one process, and what the workers' source must never hold."""

import ast
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.queue import LANES, TASK_NAMES
from jobs.schemas import Status
from jobs.settings import settings
from workers.runner import Outcome, run_job
from workers.work.generate import generate

ROOT = Path(__file__).parents[2]


def test_sixteen_jobs_at_once_make_the_bytes_that_each_makes_alone(context, submit, finished):
    def hashes(row):
        return [output.sha256 for output in finished(row).outputs]

    requests = [{"source": {"seeds": list(range(i, i + 1 + i % 5))}, "noise": "random"} for i in range(16)]
    alone = []
    for request in requests:
        row = submit(input=request)
        run_job(row.id, generate, context)
        alone.append(hashes(row))
    rows = [submit(input=request) for request in requests]
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(lambda row: run_job(row.id, generate, context), rows))
    assert set(outcomes) == {Outcome.SUCCEEDED}
    assert [hashes(row) for row in rows] == alone


def test_one_bad_job_does_not_harm_those_beside_it(context, submit, finished):
    good = [submit(input={"source": {"seeds": [i]}}) for i in range(4)]
    bad = submit(input={"source": {"latents": {"space": "w", "values": [[0.0]]}}})
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda row: run_job(row.id, generate, context), [*good, bad]))
    assert {finished(row).status for row in good} == {Status.SUCCEEDED}
    assert finished(bad).status is Status.FAILED


def sources() -> list[Path]:
    """Our packages that a worker process imports."""
    found = [path for name in ("workers", "generative", "jobs") for path in (ROOT / name).rglob("*.py")]
    return sorted(path for path in found if not path.is_relative_to(ROOT / "generative" / "training"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_worker_has_no_way_to_unpickle_anything(path):
    """No pickle module, no torch.load, no pickles in numpy files, and no trainer, which reads its own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
            assert not any(name.startswith("generative.training") for name in names)
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in ("torch.load", "np.load", "numpy.load", "eval", "exec")
        assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle")


def test_the_celery_app_serves_every_kind_on_every_lane(monkeypatch, tmp_path):
    monkeypatch.setenv("GANSERVE_WORK_DIR", str(tmp_path))
    settings.cache_clear()
    from workers.app import app

    app.loader.import_default_modules()
    assert set(TASK_NAMES.values()) <= set(app.tasks)
    assert [queue.name for queue in app.conf.task_queues] == list(LANES)
    assert app.conf.task_acks_late and app.conf.task_ignore_result
    settings.cache_clear()
