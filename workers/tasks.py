"""The Celery face of the workers: a task for each kind of job, and no logic of its own.

All do the same, for a message only says that something waits: which job is next, and of which kind, the
database decides.
"""

from jobs.queue import TASK_NAMES
from jobs.schemas import Kind
from workers.app import app, context
from workers.job import Work
from workers.runner import run_next
from workers.work.discover import discover
from workers.work.edit import edit
from workers.work.evaluate import evaluate_model
from workers.work.generate import generate
from workers.work.import_model import import_model
from workers.work.invert import invert
from workers.work.shard import shard
from workers.work.summary import summarise

WORKS: dict[Kind, Work] = {
    Kind.GENERATE: generate,
    Kind.INVERT: invert,
    Kind.EDIT: edit,
    Kind.EVALUATE: evaluate_model,
    Kind.DISCOVER: discover,
    Kind.IMPORT: import_model,
    Kind.SHARD: shard,
    Kind.SUMMARY: summarise,
}


def run(job_id: str, payload_version: int) -> None:
    run_next(job_id, WORKS, tuple(app.amqp.queues.consume_from), context())


for kind in Kind:  # a message may name a dataset or batch, whose parts wait
    app.task(name=TASK_NAMES[kind], shared=False)(run)  # of this app alone
