"""What a caller of the client must handle. `code` is the service's stable code, or one of ours.

* ClientError
  + ApiError               the service answered with a problem document
    - Refused              4xx: the request must change (400, 413, 415, 422)
      * Denied             401, 403: no key, a wrong one, or one that may not do that; or an ended link
    - Missing              404, 410: it is not there, or no longer
    - StateConflict        409: the state of the job forbids it
    - Busy                 429, 503: later may work; `retry_after_s`
    - Broken               other 5xx
  + Unreachable            no answer at all
  + JobUnsuccessful        the job ended as failed, canceled or expired; `.job`
  + StillRunning           `wait` ran out of time; the job goes on; `.job`
  + BadWebhook             what arrived is not a webhook of this secret, or it is too old
  + DamagedDownload        a file's size or sha256 is not what the job states
"""

from typing import Any

import httpx2 as httpx
from pydantic import ValidationError

from jobs.schemas import JobView, Problem


class ClientError(Exception):
    """Base class."""

    code = "client_error"


class ApiError(ClientError):
    """The service answered with a problem document (RFC 9457)."""

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(f"{problem.detail} [{problem.code}]")
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.detail = problem.detail
        self.request_id = problem.request_id
        self.errors: list[dict[str, Any]] = problem.errors or []
        self.retry_after_s = retry_after_s


class Refused(ApiError):
    """The request must change."""


class Denied(Refused):
    """The key is missing, wrong, or may not do that; or a link has ended."""


class Missing(ApiError):
    """It is not there, or no longer."""


class StateConflict(ApiError):
    """The state of the job forbids it."""


class Busy(ApiError):
    """The same request may work later."""


class Broken(ApiError):
    """The service failed."""


class Unreachable(ClientError):
    """The service did not answer."""

    code = "unreachable"


class JobUnsuccessful(ClientError):
    """The job ended as failed, canceled or expired."""

    def __init__(self, job: JobView) -> None:
        super().__init__(
            f"{job.id} {job.status}: {job.error.detail}" if job.error else f"{job.id} {job.status}"
        )
        self.job = job
        self.code = job.error.code if job.error else str(job.status)


class StillRunning(ClientError):
    """The job goes on; only the waiting ended."""

    code = "still_running"

    def __init__(self, job: JobView) -> None:
        super().__init__(f"{job.id} is still {job.status}")
        self.job = job


class BadWebhook(ClientError):
    """What arrived is not a webhook of this secret, or it is too old."""

    code = "bad_webhook"


class DamagedDownload(ClientError):
    """A file's size or sha256 is not what the job states."""

    code = "damaged_download"


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Denied,
    403: Denied,
    404: Missing,
    409: StateConflict,
    410: Missing,
    429: Busy,
    502: Busy,
    503: Busy,
    504: Busy,
}


def error_of(reply: httpx.Response) -> ApiError:
    """The exception for an answer with status >= 400."""
    kind = _BY_STATUS.get(reply.status_code, Refused if reply.status_code < 500 else Broken)
    return kind(_problem(reply), retry_after(reply))


def retry_after(reply: httpx.Response) -> float | None:
    """Seconds of the `Retry-After` header; None without one, or where it is a date."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _problem(reply: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(reply.content)
    except ValidationError:  # a proxy in between answers with a page of its own
        return Problem(
            type="about:blank",
            title=reply.reason_phrase or "Error",
            status=reply.status_code,
            detail=f"HTTP {reply.status_code} from {reply.url}",
            code="unexpected_answer",
            request_id=reply.headers.get("x-request-id", ""),
        )
