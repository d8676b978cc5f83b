"""What the store gives back: frozen records. Times are epoch seconds."""

import enum
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import Row

from jobs.schemas import (
    AnyRequest,
    JobError,
    Priority,
    Progress,
    Status,
    request_adapter,
)


@dataclass(frozen=True)
class OutputRow:
    """One published file. `key` is None and `gone` true once retention has removed it."""

    name: str
    role: str
    key: str | None
    media_type: str
    size_bytes: int
    sha256: str
    index: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    gone: bool = False


@dataclass(frozen=True)
class JobRow:
    tenant: str
    id: str
    kind: str
    model: str
    priority: Priority
    lane: str
    payload_version: int
    request_json: str
    metadata: dict[str, str]
    status: Status
    seq: int
    cancel_requested: bool
    progress: Progress
    result: dict[str, Any] | None
    error: JobError | None
    metrics: dict[str, float]
    fence: int
    attempts: int
    losses: int
    worker: str | None
    lease_until: float | None
    checkpoint_key: str | None
    created_at: float
    queued_at: float
    started_at: float | None
    finished_at: float | None
    deadline_at: float | None
    expires_at: float | None
    outputs: tuple[OutputRow, ...] = ()
    traceparent: str | None = None
    """Where the submit was in its trace; workers and the dispatcher go on from there."""
    parent: str | None = None
    """The dataset or batch that it is a part of."""
    place: int | None = None
    size: int | None = None
    """Pictures of a part."""
    parts: dict[str, int] | None = None
    """Of a dataset or batch: how many of its parts there are, by status."""

    @cached_property
    def request(self) -> AnyRequest:
        """Parsed when first asked for: most readers of a row want its status."""
        return request_adapter.validate_json(self.request_json)

    @property
    def terminal(self) -> bool:
        return self.status.terminal

    @property
    def prefix(self) -> str:
        """Key prefix of everything that this job wrote."""
        return job_prefix(self.tenant, self.id)


@dataclass(frozen=True)
class EventRow:
    """A durable transition; progress and previews are not kept."""

    seq: int
    type: str
    body: dict[str, Any]
    at: float


@dataclass(frozen=True)
class ImageRow:
    id: str
    key: str
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str
    created_at: float = 0.0  # set by the store


@dataclass(frozen=True)
class ModelRow:
    """An imported model; those that ship with the service have no row."""

    name: str
    sha256: str
    prefix: str
    card: dict[str, Any]
    created_at: float = 0.0  # set by the store


@dataclass(frozen=True)
class DirectionSetRow:
    """Directions that a tenant found in a model or brought for it; those that come with it have no row."""

    model: str
    name: str
    model_sha256: str
    prefix: str
    size_bytes: int
    listing: list[dict[str, Any]]
    created_at: float = 0.0  # set by the store


@dataclass(frozen=True)
class Claim:
    """A worker's hold on a job: valid while the row still has this fence."""

    row: JobRow
    fence: int
    worker: str
    checkpoint_key: str | None

    @property
    def job_id(self) -> str:
        return self.row.id

    @property
    def alone(self) -> bool:
        """Lost twice with its process: it should run without neighbours, which it may have taken along."""
        return self.row.losses >= 2


class Beat(enum.Enum):
    """What a heartbeat learned."""

    OK = "ok"  # the lease is renewed
    CANCEL = "cancel"  # the caller wants it stopped: finish as canceled
    LOST = "lost"  # another has it, it is over, or it stood still too long: stop, publish nothing


class Due(NamedTuple):
    """A queued job that should be sent (again)."""

    id: str
    kind: str
    lane: str


class Leftovers(NamedTuple):
    """What an ended job may have left: a key prefix with the published keys under it, and its upload."""

    tenant: str
    job_id: str
    prefix: str
    keep: frozenset[str]
    upload: str | None = None  # of an import, when no other import still needs the file


def job_prefix(tenant: str, job_id: str) -> str:
    return f"t/{tenant}/j/{job_id}/"


_PLAIN = (
    "tenant id kind model lane payload_version metadata seq cancel_requested result fence attempts losses "
    "worker lease_until checkpoint_key created_at queued_at started_at finished_at deadline_at expires_at "
    "traceparent parent place size"
).split()


def job_row(
    row: Row[Any], outputs: tuple[OutputRow, ...] = (), parts: dict[str, int] | None = None
) -> JobRow:
    known = row._mapping
    return JobRow(
        **{name: known[name] for name in _PLAIN},
        priority=Priority(known["priority"]),
        request_json=known["request"],
        status=Status(known["status"]),
        progress=Progress.model_validate(known["progress"] or {}),
        error=known["error"] and JobError.model_validate(known["error"]),
        metrics=known["metrics"] or {},
        outputs=outputs,
        parts=parts,
    )


def output_row(row: Row[Any]) -> OutputRow:
    names = ("name", "role", "key", "media_type", "size_bytes", "sha256", "index", "about", "gone")
    return OutputRow(**{name: row._mapping[name] for name in names})
