"""Which broker queue a job waits in: one for each priority and class of work.

Workers take messages from the lanes in order, and `jobs.store.pick` says which job such a message then
brings, so that no lane waits for ever. kombu keeps a worker's queues in a set, so the one order that it can
keep is that of their names: hence the digit. A class groups jobs that take about as long, so that depth says
something about waiting time, and so that a deployment can give a class workers of its own.
"""

from jobs.discovery import DirectionsImport
from jobs.editing import EditInput
from jobs.schemas import (
    BatchRequest,
    DatasetRequest,
    GenerateRequest,
    ImportRequest,
    JobRequest,
    Priority,
    ShardRequest,
    SummaryRequest,
)

FAST = "fast"  # forward passes only
IMPORT = "import"  # reading checkpoints, and files of directions
SHARDS = "shards"  # parts of datasets, of which a worker takes a few at a time
SLOW = "slow"  # optimisation, evaluation, discovery

_RANKED = {Priority.HIGH: "0-high", Priority.NORMAL: "1-normal", Priority.LOW: "2-low"}

_CLASSES = (FAST, IMPORT, SHARDS, SLOW)

LANES: tuple[str, ...] = tuple(f"{rank}.{work}" for rank in _RANKED.values() for work in _CLASSES)
"""Every lane, the one served first in front."""

_BEFORE_S = {Priority.HIGH: 600.0, Priority.NORMAL: 540.0, Priority.LOW: 0.0}
_SHORT_S = {FAST: 30.0, IMPORT: 15.0, SHARDS: 0.0, SLOW: 0.0}
AHEAD_S: dict[str, float] = {
    f"{_RANKED[priority]}.{work}": before + short
    for priority, before in _BEFORE_S.items()
    for work, short in _SHORT_S.items()
}
"""How much earlier a job of a lane counts as having come when a tenant's next job is picked: a normal job
is as urgent as a high one that came 60 s later, a low one 600 s, slow work as fast work 30 s later."""


HELD = "held."
"""Before the lane of a part that is not to be worked on yet: no worker serves such a lane."""


def is_bulk(lane: str) -> bool:
    """Whether a worker takes a few jobs of this lane at a time only."""
    return lane.endswith(f".{SHARDS}")


def lane_of(request: JobRequest) -> str:
    """The lane for `request`."""
    return f"{_RANKED[request.priority]}.{_work_class(request)}"


def _work_class(request: JobRequest) -> str:
    if isinstance(request, GenerateRequest):
        return FAST
    if isinstance(request, DatasetRequest | ShardRequest):
        return SHARDS
    if isinstance(request, BatchRequest | SummaryRequest):
        return FAST
    if isinstance(request, ImportRequest) or isinstance(request.input, DirectionsImport):
        return IMPORT
    if isinstance(request.input, EditInput) and request.input.source.images is None:
        return FAST
    return SLOW
