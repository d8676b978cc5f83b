"""Which broker queue a job waits in: one for each priority and class of work.

Workers take from the lanes in order. kombu keeps a worker's queues in a set, so the one order that it can
keep is that of their names: hence the digit. A class groups jobs that take about as long, so that depth says
something about waiting time, and so that a deployment can give a class workers of its own.
"""

from jobs.schemas import EditInput, GenerateRequest, ImportRequest, JobRequest, Priority

FAST = "fast"  # forward passes only
IMPORT = "import"  # reading checkpoints
SLOW = "slow"  # optimisation

_RANKED = {Priority.HIGH: "0-high", Priority.NORMAL: "1-normal", Priority.LOW: "2-low"}

LANES: tuple[str, ...] = tuple(f"{rank}.{work}" for rank in _RANKED.values() for work in (FAST, IMPORT, SLOW))
"""Every lane, the one served first in front."""


def lane_of(request: JobRequest) -> str:
    """The lane for `request`."""
    return f"{_RANKED[request.priority]}.{_work_class(request)}"


def _work_class(request: JobRequest) -> str:
    if isinstance(request, GenerateRequest):
        return FAST
    if isinstance(request, ImportRequest):
        return IMPORT
    if isinstance(request.input, EditInput) and request.input.source.images is None:
        return FAST
    return SLOW
