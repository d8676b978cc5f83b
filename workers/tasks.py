"""The Celery face of the workers: one task for each kind of job, and no logic of its own."""

from jobs.queue import TASK_NAMES
from jobs.schemas import Kind
from workers.app import app, context
from workers.runner import run_job
from workers.work.edit import edit
from workers.work.evaluate import evaluate_model
from workers.work.generate import generate
from workers.work.import_model import import_model
from workers.work.invert import invert


@app.task(name=TASK_NAMES[Kind.GENERATE])
def run_generate(job_id: str, payload_version: int) -> None:
    run_job(job_id, generate, context())


@app.task(name=TASK_NAMES[Kind.INVERT])
def run_invert(job_id: str, payload_version: int) -> None:
    run_job(job_id, invert, context())


@app.task(name=TASK_NAMES[Kind.EDIT])
def run_edit(job_id: str, payload_version: int) -> None:
    run_job(job_id, edit, context())


@app.task(name=TASK_NAMES[Kind.EVALUATE])
def run_evaluate(job_id: str, payload_version: int) -> None:
    run_job(job_id, evaluate_model, context())


@app.task(name=TASK_NAMES[Kind.IMPORT])
def run_import(job_id: str, payload_version: int) -> None:
    run_job(job_id, import_model, context())
