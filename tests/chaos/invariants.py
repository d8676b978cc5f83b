"""What must hold whatever has happened, once nothing is queued or running: read from the record alone.

Only the database and the objects are looked at, never what a process believes. Each rule is a function that
says, in words, what breaks it; `violations` asks them all. The rules suppose that nobody retried or deleted
a job, imported a model or named a dataset's folder, and that `accepted` are the jobs for which a caller got
an answer.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

from sqlalchemy import Row, select

from jobs.blobs import BlobStore, dataset_prefix
from jobs.errors import NotFound
from jobs.schemas import PARENTS, Kind, Status
from jobs.store import job_prefix
from jobs.store.database import Database
from jobs.store.tables import events, holds, images, jobs, outputs, storage, usage

TICK_S = 0.002  # SQLite's clock shows milliseconds
EDGES = {
    (Status.QUEUED, Status.RUNNING),
    (Status.QUEUED, Status.FAILED),  # tried too often
    (Status.QUEUED, Status.CANCELED),
    (Status.QUEUED, Status.EXPIRED),
    (Status.RUNNING, Status.QUEUED),
    (Status.RUNNING, Status.RUNNING),  # a cancel was asked for, or a silent worker's job was claimed
    (Status.RUNNING, Status.SUCCEEDED),
    (Status.RUNNING, Status.FAILED),
    (Status.RUNNING, Status.CANCELED),
}
MAKES_PICTURES = (Kind.GENERATE, Kind.EDIT, Kind.INVERT)


@dataclass
class Record:
    """All rows, as one transaction sees them."""

    database: Database
    blobs: BlobStore
    accepted: Collection[str] | None = None
    jobs: dict[str, Row[Any]] = field(init=False)
    events: dict[str, list[Row[Any]]] = field(init=False)
    """By job, in the order of `seq`."""
    outputs: list[Row[Any]] = field(init=False)

    def __post_init__(self) -> None:
        with self.database.read() as connection:
            self.jobs = {row.id: row for row in connection.execute(select(jobs))}
            self.outputs = list(connection.execute(select(outputs)))
            self.events = defaultdict(list)
            for row in connection.execute(select(events).order_by(events.c.seq)):
                self.events[row.job_id].append(row)
            self.holds = list(connection.execute(select(holds)))
            self.usage = list(connection.execute(select(usage)))
            self.storage = {row.tenant: row.size_bytes for row in connection.execute(select(storage))}
            self.stored: Counter[str] = Counter()
            for row in connection.execute(select(images)):
                self.stored[row.tenant] += row.size_bytes
            for row in self.outputs:
                self.stored[row.tenant] += 0 if row.gone else row.size_bytes

    def ends(self, job_id: str) -> list[Row[Any]]:
        """The job's events that tell of an end."""
        return [event for event in self.events[job_id] if Status(event.body["status"]).terminal]


Rule = Callable[[Record], Iterator[str]]


def every_accepted_job_has_ended(record: Record) -> Iterator[str]:
    for row in record.jobs.values():
        if not Status(row.status).terminal:
            yield f"{row.id} is {row.status}"
    if record.accepted is None:
        return
    for job_id in set(record.accepted) - set(record.jobs):
        yield f"{job_id} was accepted and is not there"
    asked = {row.id for row in record.jobs.values() if row.parent is None}  # parts are the service's own
    for job_id in asked - set(record.accepted):
        yield f"{job_id} is there and nobody asked for it"


def no_end_is_followed_by_anything(record: Record) -> Iterator[str]:
    for job_id, told in record.events.items():
        ends = record.ends(job_id)
        if ends and ends[0] is not told[-1]:
            yield f"{job_id} was {ends[0].body['status']} and then {told[-1].body['status']}"


def each_end_is_told(record: Record) -> Iterator[str]:
    for row in record.jobs.values():
        told = [event.body["status"] for event in record.ends(row.id)]
        if Status(row.status).terminal and row.status not in told:
            yield f"{row.id} is {row.status}; its events say {told or 'nothing'}"


def every_step_is_a_legal_one(record: Record) -> Iterator[str]:
    for job_id, told in record.events.items():
        job, steps = record.jobs[job_id], [Status(event.body["status"]) for event in told]
        # What is done in parts runs from the start; that a part waits is told of in its parent.
        first = Status.RUNNING if job.kind in PARENTS else Status.QUEUED
        if steps[0] != first and job.parent is None:
            yield f"{job_id} began as {steps[0]}"
        for step in pairwise(steps):
            if step not in EDGES and not step[0].terminal:
                yield f"{job_id} went from {step[0]} to {step[1]}"


def seq_only_grows(record: Record) -> Iterator[str]:
    for job_id, told in record.events.items():
        seqs = [event.seq for event in told]
        job = record.jobs[job_id]
        if (seqs[0] != 1 and job.parent is None) or seqs[-1] > job.seq:
            yield f"{job_id} has seq {record.jobs[job_id].seq}, and events {seqs[0]} to {seqs[-1]}"
        for earlier, later in pairwise(told):
            if later.at < earlier.at - TICK_S:
                yield f"{job_id}: event {later.seq} came before event {earlier.seq}"


def each_success_is_published_once(record: Record) -> Iterator[str]:
    published = Counter(row.job_id for row in record.outputs)
    for row in record.jobs.values():
        successes = sum(event.body["status"] == Status.SUCCEEDED for event in record.events[row.id])
        if successes != (row.status == Status.SUCCEEDED):
            yield f"{row.id} is {row.status} and was published {successes} times"
        if row.status == Status.SUCCEEDED and row.kind in MAKES_PICTURES and not published[row.id]:
            yield f"{row.id} succeeded and shows nothing"


def every_output_is_there_whole(record: Record) -> Iterator[str]:
    for row in record.outputs:
        if row.gone:
            continue
        try:
            body = record.blobs.read(row.key)
        except NotFound:
            yield f"{row.key} is published and not there"
            continue
        if hashlib.sha256(body).hexdigest() != row.sha256 or len(body) != row.size_bytes:
            yield f"{row.key} is not what its row says"


def nothing_of_a_stale_fence_is_reachable(record: Record) -> Iterator[str]:
    for row in record.outputs:
        job = record.jobs[row.job_id]
        valid = f"{job_prefix(job.tenant, job.id)}a/{job.fence}/"
        if job.kind == Kind.SHARD:  # equal requests give equal bytes, whoever wrote them
            valid = dataset_prefix(job.tenant, job.parent)
        if row.key is not None and not row.key.startswith(valid):
            yield f"{row.key} is published, and the last fence is {job.fence}"


def no_fence_was_given_out_twice(record: Record) -> Iterator[str]:
    """Each claim adds one to the fence and is one event, so the two counts tell of each other."""
    for row in record.jobs.values():
        if row.kind in PARENTS:  # no worker claims them
            continue
        claims = sum(
            event.body["status"] == Status.RUNNING and not event.body["cancel_requested"]
            for event in record.events[row.id]
        )
        if claims != row.fence:
            yield f"{row.id} was claimed {claims} times and has fence {row.fence}"


def nothing_is_held(record: Record) -> Iterator[str]:
    for row in record.holds:
        yield f"{row.job_id} still holds {row.images} pictures"


def what_was_used_is_counted_once(record: Record) -> Iterator[str]:
    counted: Counter[str] = Counter()
    for row in record.usage:
        counted[row.tenant] += row.jobs
    alone = [row for row in record.jobs.values() if row.parent is None]
    ended = Counter(row.tenant for row in alone if Status(row.status).terminal)
    for tenant in counted | ended:
        if counted[tenant] != ended[tenant]:
            yield f"{ended[tenant]} jobs of {tenant} have ended, and {counted[tenant]} are counted"
    for tenant in {*record.storage, *record.stored}:
        stored, said = record.stored[tenant], record.storage.get(tenant, 0)
        if stored != said:
            yield f"{tenant} stores {stored} bytes, and {said} are counted"


def _datasets(record: Record) -> Iterator[tuple[Row[Any], dict[str, str], bool]]:
    """Those that succeeded: sha256 by the name of the file, and whether the manifest names each once."""
    written = {
        record.jobs[row.job_id].parent: row.key for row in record.outputs if row.name == "manifest.json"
    }
    for job in record.jobs.values():
        if job.kind == Kind.DATASET and job.status == Status.SUCCEEDED:
            try:
                files = json.loads(record.blobs.read(written[job.id]))["files"]
            except (KeyError, ValueError, NotFound):
                files = []
            found = {file["name"]: file["sha256"] for file in files}
            yield job, found, len(found) == len(files)


def every_dataset_is_whole(record: Record) -> Iterator[str]:
    """Each file of each shard is in the manifest, once; shards lie edge to edge, from the first sample."""
    for job, listed, once in _datasets(record):
        mine = [row for row in record.jobs.values() if row.parent == job.id and row.kind == Kind.SHARD]
        ids, count = {row.id for row in mine}, json.loads(job.request)["input"]["count"]
        published = {row.name: row.sha256 for row in record.outputs if row.job_id in ids}
        if not listed or not once or listed != published:
            yield f"the manifest of {job.id} lists {listed}, and published are {published}"
        ranges = sorted((row.result["first"], row.result["count"]) for row in mine)
        ends = [0, *accumulate(size for _, size in ranges)]
        if [first for first, _ in ranges] != ends[:-1] or ends[-1] != count:
            yield f"the shards of {job.id} are {ranges}"


def equal_datasets_have_equal_files(record: Record) -> Iterator[str]:
    seen: dict[str, dict[str, str]] = {}
    for job, files, _ in _datasets(record):
        if seen.setdefault(job.request, files) != files:
            yield f"the files of {job.id} are not those of its twin"


RULES: tuple[Rule, ...] = (
    every_accepted_job_has_ended,
    no_end_is_followed_by_anything,
    each_end_is_told,
    every_step_is_a_legal_one,
    seq_only_grows,
    each_success_is_published_once,
    every_output_is_there_whole,
    nothing_of_a_stale_fence_is_reachable,
    no_fence_was_given_out_twice,
    nothing_is_held,
    what_was_used_is_counted_once,
    every_dataset_is_whole,
    equal_datasets_have_equal_files,
)


def violations(record: Record) -> dict[str, list[str]]:
    """What breaks which rule, by the rule's name; empty when all is well."""
    found = {rule.__name__: list(rule(record)) for rule in RULES}
    return {name: told for name, told in found.items() if told}


def lost(record: Record) -> int:
    """Jobs that were accepted and have not ended."""
    return len(list(every_accepted_job_has_ended(record)))


def doubled(record: Record) -> int:
    """Jobs that ended, or were published, more than once."""
    return sum(len(record.ends(job_id)) > 1 for job_id in record.jobs)


def stale(record: Record) -> int:
    """Published files that a worker wrote after it had lost the job."""
    return len(list(nothing_of_a_stale_fence_is_reachable(record)))
