"""The store as one would write it without a database: a dict of jobs, one clock, nothing at the same time.

It says what each call of `JobStore` must answer and what each job must look like afterwards. Whose turn it is
among tenants is not here: `claim_fairest` may take any job that this twin calls able.
"""

from dataclasses import dataclass, field

from jobs.schemas import Status
from jobs.store import Beat, Limits

UNSUCCESSFUL = (Status.FAILED, Status.CANCELED, Status.EXPIRED)


class Refused(Exception):
    """What the store calls Conflict."""


@dataclass
class Output:
    key: str | None
    expires_at: float
    size_bytes: int
    gone: bool = False


@dataclass
class Job:
    deadline_s: float | None
    created_at: float
    status: Status = Status.QUEUED
    seq: int = 1
    fence: int = 0
    attempts: int = 0
    losses: int = 0
    cancel_requested: bool = False
    worker: str | None = None
    error: str | None = None
    checkpoint_key: str | None = None
    progress: float = 0.0
    lease_until: float | None = None
    progress_at: float = 0.0
    queued_at: float = 0.0
    started: bool = False
    finished_at: float | None = None
    deadline_at: float | None = None
    swept: bool = False
    outputs: list[Output] = field(default_factory=list)
    told: list[tuple[Status, bool]] = field(default_factory=list)
    """Its events: the status and whether a cancel was asked for."""
    ends: int = 0

    def change(self, status: Status | None = None) -> None:
        """Callers can see what was just done; a status, new or not, is told."""
        self.seq += 1
        if status is not None:
            self.status = status
            self.told.append((status, self.cancel_requested))
            self.ends += status.terminal

    def end(self, status: Status, now: float, error: str | None = None) -> None:
        self.error, self.finished_at, self.lease_until = error, now, None
        self.change(status)


class Twin:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.now = 0.0
        self.jobs: dict[str, Job] = {}
        self.ends_of_deleted = 0

    # --- the gateway's side ------------------------------------------------------------------------------

    def submit(self, job_id: str, deadline_s: float | None) -> None:
        job = Job(deadline_s, self.now, queued_at=self.now, deadline_at=self._deadline(deadline_s))
        job.told.append((Status.QUEUED, False))
        self.jobs[job_id] = job

    def cancel(self, job_id: str) -> Status:
        """The status after it. Raises Refused."""
        job = self.jobs[job_id]
        if job.status is Status.QUEUED:
            job.cancel_requested, job.finished_at = True, self.now
            job.change(Status.CANCELED)
        elif job.status is Status.RUNNING and not job.cancel_requested:
            job.cancel_requested = True
            job.change(Status.RUNNING)
        elif job.status not in (Status.RUNNING, Status.CANCELED):
            raise Refused
        return job.status

    def retry(self, job_id: str) -> Status:
        """The status after it. Raises Refused."""
        job = self.jobs[job_id]
        if job.status not in UNSUCCESSFUL:
            raise Refused
        job.cancel_requested, job.attempts, job.losses = False, 0, 0
        job.worker = job.error = job.checkpoint_key = job.finished_at = None
        job.progress, job.started, job.swept, job.outputs = 0.0, False, False, []
        job.queued_at, job.deadline_at = self.now, self._deadline(job.deadline_s)
        job.change(Status.QUEUED)
        return job.status

    def delete(self, job_id: str) -> list[str]:
        """The keys of its files. Raises Refused."""
        job = self.jobs[job_id]
        if not job.status.terminal:
            raise Refused
        del self.jobs[job_id]
        self.ends_of_deleted += job.ends
        return [output.key for output in job.outputs if output.key is not None]

    def _deadline(self, seconds: float | None) -> float | None:
        return None if seconds is None else self.now + seconds

    # --- the worker's side -------------------------------------------------------------------------------

    def able(self, job_id: str) -> bool:
        """A claim would take the job."""
        job = self.jobs.get(job_id)
        if job is None or job.cancel_requested:
            return False
        if job.status is Status.QUEUED:
            late = job.deadline_at is not None and job.deadline_at <= self.now and not job.started
            return job.attempts < self.limits.max_attempts and not late
        return self._lapsed(job) and job.losses + 1 < self.limits.max_losses

    def claim(self, job_id: str, worker: str) -> int:
        """The fence."""
        job = self.jobs[job_id]
        if job.status is Status.RUNNING:
            job.losses += 1
        else:
            job.attempts += 1
        job.fence += 1
        job.worker, job.started = worker, True
        job.lease_until, job.progress_at = self.now + self.limits.lease_s, self.now
        job.change(Status.RUNNING)
        return job.fence

    def heartbeat(self, job_id: str, fence: int, told: float | None, key: str | None, advanced: bool) -> Beat:
        job = self._held(job_id, fence)
        if job is None:
            return Beat.LOST
        if job.cancel_requested:
            return Beat.CANCEL
        if not advanced and job.progress_at <= self.now - self.limits.stall_s:
            return Beat.LOST
        job.lease_until = self.now + self.limits.lease_s
        job.progress_at = self.now if advanced else job.progress_at
        job.checkpoint_key = key or job.checkpoint_key
        if told is not None:
            job.progress = told
            job.change()
        return Beat.OK

    def release(self, job_id: str, fence: int, reason: str, error: str) -> Status | None:
        job = self._held(job_id, fence)
        if job is None:
            return None
        if reason == "retry":
            self._put_back(job, job.attempts >= self.limits.max_attempts, error)
            job.queued_at += 6  # at most: before that only a message of its own brings it up
        else:
            self._lose(job)
        return job.status

    def finish(self, job_id: str, fence: int, status: Status, error: str | None, output: Output) -> bool:
        job = self._held(job_id, fence)
        if job is None:
            return False
        job.end(status, self.now, error)
        job.outputs = [output]
        if status is Status.SUCCEEDED:
            job.progress = 1.0
        return True

    def _held(self, job_id: str, fence: int) -> Job | None:
        job = self.jobs.get(job_id)
        held = job is not None and job.fence == fence and job.status is Status.RUNNING
        return job if held else None

    def _lose(self, job: Job) -> None:
        job.attempts -= 1
        job.losses += 1
        self._put_back(job, job.losses >= self.limits.max_losses, "worker_lost")

    def _put_back(self, job: Job, spent: bool, error: str) -> None:
        job.worker, job.queued_at = None, self.now
        if job.cancel_requested:
            job.end(Status.CANCELED, self.now)
        elif spent:
            job.end(Status.FAILED, self.now, error)
        else:
            job.lease_until = job.error = None
            job.change(Status.QUEUED)

    # --- the reaper's side -------------------------------------------------------------------------------

    def expire_deadlines(self) -> int:
        late = [
            job
            for job in self.jobs.values()
            if job.status is Status.QUEUED
            and job.deadline_at is not None
            and job.deadline_at < self.now
            and not job.started
        ]
        for job in late:
            job.end(Status.EXPIRED, self.now)
        return len(late)

    def reap_leases(self) -> int:
        lapsed = [job for job in self.jobs.values() if self._lapsed(job) and not job.cancel_requested]
        for job in lapsed:
            self._lose(job)
        return len(lapsed)

    def cancel_orphans(self) -> int:
        orphans = [job for job in self.jobs.values() if self._lapsed(job) and job.cancel_requested]
        for job in orphans:
            job.end(Status.CANCELED, self.now)
        return len(orphans)

    def fail_exhausted(self) -> int:
        """A release has failed them before."""
        return 0

    def sweep_artifacts(self) -> set[str]:
        """Keys to remove; the store is told that they are removed."""
        swept = set()
        for job in self.jobs.values():
            for output in job.outputs:
                output.gone |= output.expires_at < self.now
                if output.gone and output.key is not None:
                    swept.add(output.key)
                    output.key = None
        return swept

    def leftovers(self) -> dict[str, set[str]]:
        """By job: the keys to keep; the store is told that the rest is swept."""
        found = {}
        for job_id, job in self.jobs.items():
            old = job.finished_at is not None and job.finished_at < self.now - self.limits.leftovers_s
            if old and not job.swept:
                job.swept, job.checkpoint_key = True, None
                found[job_id] = {output.key for output in job.outputs if output.key is not None}
        return found

    def _lapsed(self, job: Job) -> bool:
        return job.status is Status.RUNNING and job.lease_until is not None and job.lease_until < self.now
