"""Which broker queue a job waits in: one for each priority and class of work.

Workers take messages from the lanes in order, and `jobs.store.pick` says which job such a message then
brings, so that no lane waits for ever. kombu keeps a worker's queues in a set, so the one order that it can
keep is that of their names: hence the digit. A class groups jobs that take about as long, so that depth says
something about waiting time, and so that a deployment can give a class workers of its own.
"""

from jobs.discovery import DirectionsImport
from jobs.editing import EditInput
from jobs.schemas import GenerateRequest, ImportRequest, JobRequest, Priority

FAST = "fast"  # forward passes only
IMPORT = "import"  # reading checkpoints, and files of directions
SLOW = "slow"  # optimisation, evaluation, discovery

_RANKED = {Priority.HIGH: "0-high", Priority.NORMAL: "1-normal", Priority.LOW: "2-low"}

LANES: tuple[str, ...] = tuple(f"{rank}.{work}" for rank in _RANKED.values() for work in (FAST, IMPORT, SLOW))
"""Every lane, the one served first in front."""

_BEFORE_S = {Priority.HIGH: 600.0, Priority.NORMAL: 540.0, Priority.LOW: 0.0}
_SHORT_S = {FAST: 30.0, IMPORT: 15.0, SLOW: 0.0}
AHEAD_S: dict[str, float] = {
    f"{_RANKED[priority]}.{work}": before + short
    for priority, before in _BEFORE_S.items()
    for work, short in _SHORT_S.items()
}
"""How much earlier a job of a lane counts as having come when a tenant's next job is picked: a normal job
is as urgent as a high one that came 60 s later, a low one 600 s, slow work as fast work 30 s later."""


def lane_of(request: JobRequest) -> str:
    """The lane for `request`."""
    return f"{_RANKED[request.priority]}.{_work_class(request)}"


def _work_class(request: JobRequest) -> str:
    if isinstance(request, GenerateRequest):
        return FAST
    if isinstance(request, ImportRequest) or isinstance(request.input, DirectionsImport):
        return IMPORT
    if isinstance(request.input, EditInput) and request.input.source.images is None:
        return FAST
    return SLOW
