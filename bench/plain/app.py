"""Celery with Redis as tutorials write it: a broker, a result backend, a task. What the comparison runs.

A job is ten steps of work; each start and each end is a line in a file, which is all that is counted.
PLAIN_BROKER, PLAIN_RECORD and PLAIN_LATE come from the environment.
"""

import os
import time
from pathlib import Path

from celery import Celery

STEPS, STEP_S = 10, 0.1
RECORD = Path(os.environ["PLAIN_RECORD"])

app = Celery("plain", broker=os.environ["PLAIN_BROKER"], backend=os.environ["PLAIN_BACKEND"])
if os.environ.get("PLAIN_LATE"):
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)


def note(line: str) -> None:
    with RECORD.open("a") as record:
        record.write(line + "\n")


@app.task(name="plain.work")  # type: ignore[untyped-decorator]
def work(job: str) -> str:
    note(f"start {job}")
    for _ in range(STEPS):
        time.sleep(STEP_S)
    note(f"end {job}")
    return job
