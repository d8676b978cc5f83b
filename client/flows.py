"""What the client does beyond one request: retrying, waiting, following, downloading.

A flow is a generator. It yields what it wants done (a `Call`, a `Fetch`, a `Pause`), is sent the outcome, and
returns the result. It does no input or output and does not know if its driver is sync (`client.sync`) or
async (`client.aio`).
"""

import math
import random
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx

from client import calls
from client.calls import Call
from client.errors import (
    ApiError,
    Busy,
    ClientError,
    DamagedDownload,
    JobUnsuccessful,
    Missing,
    Refused,
    StillRunning,
    Unreachable,
    error_of,
)
from jobs.schemas import JobView, Output, Status

T = TypeVar("T")
TRIES = 6
LONG_POLL_S = 30
PATIENCE_S = 60  # a service that wants to be left alone for longer is an answer: a quota, say, of a day
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Pause:
    """Sleep that long; the outcome is None."""

    seconds: float


@dataclass(frozen=True)
class Fetch:
    """Download `url` to `path`; the outcome is (size in bytes, sha256 in hex)."""

    url: str
    path: Path


Step = Call[Any] | Fetch | Pause
Flow = Generator[Step, Any, T]


def back_off(attempt: int, error: ClientError, *, jitter: Callable[[], float] = random.random) -> float:
    """Seconds before the next try: what the service asks for and up to a quarter more, else 0.25 s doubling
    to 8 s, times 0.5 to 1.5.
    """
    asked = error.retry_after_s if isinstance(error, ApiError) else None
    if asked is not None:
        return asked * (1 + jitter() / 4)
    return min(0.25 * 2**attempt, 8.0) * (0.5 + jitter())


def sent(call: Call[T]) -> Flow[T]:
    """The answer to `call`, tried again while the service is busy or, if that is safe, out of reach."""
    for attempt in range(TRIES):
        try:
            reply: httpx.Response = yield call
            if reply.status_code < 400:
                return call.parse(reply)
            raise error_of(reply)
        except (Busy, Unreachable) as error:
            last = attempt == TRIES - 1 or (
                isinstance(error, Busy) and (error.retry_after_s or 0) > PATIENCE_S
            )
            if last or (isinstance(error, Unreachable) and not call.repeatable):
                raise
            yield Pause(back_off(attempt, error))
    raise AssertionError("the last try returns or raises")


def finished(
    job_id: str, *, timeout_s: float | None, changed: Callable[[JobView], None] | None
) -> Flow[JobView]:
    """The job once it is terminal; `changed` sees the states on the way. StillRunning after `timeout_s`."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    job = yield from sent(calls.get_job(job_id))
    while not job.terminal:
        if changed:
            changed(job)
        left = LONG_POLL_S if end is None else min(LONG_POLL_S, end - time.monotonic())
        if left <= 0:
            raise StillRunning(job)
        before = time.monotonic()
        newer = yield from sent(calls.get_job(job_id, wait_s=math.ceil(left), after_seq=job.seq))
        if newer.seq == job.seq and time.monotonic() - before < min(left, 1.0):
            yield Pause(0.25)  # something answers at once instead of waiting: do not spin
        job = newer
    return job


def succeeded(flow: Flow[JobView]) -> Flow[JobView]:
    """The job that `flow` ends with; JobUnsuccessful unless it succeeded."""
    job = yield from flow
    if job.status != Status.SUCCEEDED:
        raise JobUnsuccessful(job)
    return job


def pages(filters: Mapping[str, Any], *, limit: int | None) -> Flow[list[JobView]]:
    """Up to `limit` jobs (all: None), newest first, over as many pages as that takes."""
    found: list[JobView] = []
    cursor: str | None = None
    while limit is None or len(found) < limit:
        page_size = 200 if limit is None else min(200, limit - len(found))
        page = yield from sent(calls.list_jobs(filters, limit=page_size, cursor=cursor))
        found += page.data
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def downloaded(job: JobView, directory: Path, *, names: tuple[str, ...] | None) -> Flow[list[Path]]:
    """The outputs of `job` (all, or those named) as files in `directory`, each checked by size and sha256."""
    wanted = [output for output in job.outputs if names is None or output.name in names]
    missing = sorted(set(names or ()) - {output.name for output in wanted})
    if missing:
        raise FileNotFoundError(f"{job.id} has no output {', '.join(missing)}")
    paths = []
    for output in wanted:
        path = directory / safe_name(output.name)
        yield from _fetched(job.id, output, path)
        paths.append(path)
    return paths


def weights(model: str, path: Path) -> Flow[Path]:
    """The weights of a model as the file `path`, checked by the sha256 of its card."""
    card = yield from sent(calls.get_model(model))
    part = path.with_name(path.name + ".part")
    _, sha256 = yield from _retried_fetch(Fetch(f"/v1/models/{model}/weights", part))
    if sha256 != card["sha256"]:
        part.unlink()
        raise DamagedDownload(f"the weights of {model}: sha256 {sha256}; the card states {card['sha256']}")
    return part.replace(path)


def safe_name(name: str) -> str:
    """`name`, if it can be nothing but a file of the directory: no separators, no dot first."""
    if not SAFE_NAME.fullmatch(name):
        raise DamagedDownload(f"an output with the name {name!r} is not written")
    return name


def _fetched(job_id: str, output: Output, path: Path) -> Flow[None]:
    """Links are signed for minutes: one that has expired is asked for again, once."""
    part = path.with_name(path.name + ".part")
    for fresh in (False, True):
        if fresh or output.url is None:
            job = yield from sent(calls.get_job(job_id))
            output = next(o for o in job.outputs if o.name == output.name)
        if output.url is None:
            raise DamagedDownload(f"{job_id} has no link to {output.name}")
        try:
            size, sha256 = yield from _retried_fetch(Fetch(output.url, part))
            break
        except (Missing, Refused):
            if fresh:
                raise
    if (size, sha256) != (output.size_bytes, output.sha256):
        part.unlink()
        raise DamagedDownload(f"{output.name}: {size} bytes, sha256 {sha256}; the job states {output.sha256}")
    part.replace(path)


def _retried_fetch(fetch: Fetch) -> Flow[tuple[int, str]]:
    for attempt in range(TRIES):
        try:
            outcome: tuple[int, str] = yield fetch
            return outcome
        except (Busy, Unreachable) as error:
            if attempt == TRIES - 1:
                raise
            yield Pause(back_off(attempt, error))
    raise AssertionError("the last try returns or raises")
