"""A worker that can be made to hang: `celery -A tests.e2e.obstinate_worker worker`.

While the file `engine.blocked` is in the work folder, every painting on the engine waits for it to go; while
`consumer.silent` is, the consumer goes round and asks the broker for nothing.
"""

import time
from typing import Any

from kombu.transport.redis import Channel
from torch import Tensor

from generative.generator import Generator
from jobs.settings import settings
from workers.app import app as app  # the real one
from workers.work import painting

FOLDER = settings().work_dir
paint, ask = painting.Paint.__call__, Channel._brpop_start


def hesitant_paint(op: painting.Paint, generator: Generator, inputs: painting.Inputs) -> Tensor:
    while (FOLDER / "engine.blocked").exists():
        time.sleep(0.05)
    return paint(op, generator, inputs)


def hesitant_ask(self: Channel, timeout: Any = None) -> None:
    if (FOLDER / "consumer.silent").exists():
        time.sleep(0.05)  # in place of the wait for an answer
    else:
        ask(self, timeout)


painting.Paint.__call__ = hesitant_paint  # type: ignore[method-assign]
Channel._brpop_start = hesitant_ask
