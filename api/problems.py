"""The one error table: every code that a caller can meet, with its status and title.

Answers are problem documents (RFC 9457). A code is stable, a title is for people, and a detail never holds a
path of ours, a stack, or more than a few characters of what was sent.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from jobs.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GanserveError,
    Gone,
    NotFound,
    QueueFull,
    QuotaExceeded,
    Transient,
)
from jobs.schemas import Problem

logger = logging.getLogger(__name__)

MAX_ERRORS = 20  # of one validation
MAX_TEXT = 300  # characters of one message
RETRY_SOON_S = 1  # a request with the same key is under way
RETRY_LATER_S = 5  # a dependency is down


class Entry(NamedTuple):
    status: int
    title: str


CODES = {
    "malformed_request": Entry(400, "Malformed request"),
    "malformed_json": Entry(400, "Malformed JSON"),
    "bad_header": Entry(400, "Bad header"),
    "bad_cursor": Entry(400, "Bad cursor"),
    "foreign_host": Entry(400, "Foreign host"),
    "unauthorized": Entry(401, "Unauthorized"),
    "invalid_key": Entry(401, "Invalid key"),
    "forbidden": Entry(403, "Forbidden"),
    "insufficient_scope": Entry(403, "Insufficient scope"),
    "tenant_suspended": Entry(403, "Tenant suspended"),
    "foreign_origin": Entry(403, "Foreign origin"),
    "bad_signature": Entry(403, "Bad signature"),
    "link_expired": Entry(403, "Link expired"),
    "not_found": Entry(404, "Not found"),
    "method_not_allowed": Entry(405, "Method not allowed"),
    "not_acceptable": Entry(406, "Not acceptable"),
    "request_timeout": Entry(408, "Request timeout"),
    "conflict": Entry(409, "Conflict"),
    "already_finished": Entry(409, "Already finished"),
    "not_finished": Entry(409, "Not finished"),
    "in_progress": Entry(409, "In progress"),
    "name_taken": Entry(409, "Name taken"),
    "model_mismatch": Entry(409, "Made for another model"),
    "part_of_job": Entry(409, "Part of another job"),
    "no_shards": Entry(409, "No dataset"),
    "too_many_webhooks": Entry(409, "Too many webhooks"),
    "webhook_disabled": Entry(409, "Webhook disabled"),
    "gone": Entry(410, "Gone"),
    "payload_too_large": Entry(413, "Payload too large"),
    "uri_too_long": Entry(414, "Address too long"),
    "unsupported_media_type": Entry(415, "Unsupported media type"),
    "expectation_failed": Entry(417, "Expectation failed"),
    "invalid_request": Entry(422, "Invalid request"),
    "limit_exceeded": Entry(422, "Limit exceeded"),
    "unknown_model": Entry(422, "Unknown model"),
    "unsupported_by_model": Entry(422, "Unsupported by the model"),
    "unknown_image": Entry(422, "Unknown image"),
    "unknown_artifact": Entry(422, "Unknown artifact"),
    "unknown_direction": Entry(422, "Unknown direction"),
    "unknown_bucket": Entry(422, "Unknown bucket"),
    "idempotency_key_reused": Entry(422, "Idempotency-Key reused"),
    "bad_image": Entry(422, "Bad image"),
    "too_small": Entry(422, "Image too small"),
    "too_large": Entry(422, "Image too large"),
    "aspect": Entry(422, "Image too narrow"),
    "animated": Entry(422, "Animated image"),
    "hash_mismatch": Entry(422, "Hash mismatch"),
    "bad_checkpoint": Entry(422, "Bad checkpoint"),
    "bad_webhook": Entry(422, "Bad webhook"),
    "forbidden_address": Entry(422, "Forbidden address"),
    "queue_full": Entry(429, "Queue full"),
    "quota": Entry(429, "Quota used up"),
    "rate_limited": Entry(429, "Too many calls"),
    "too_many_streams": Entry(429, "Too many streams"),
    "headers_too_large": Entry(431, "Headers too large"),
    "internal_error": Entry(500, "Internal error"),
    "unavailable": Entry(503, "Unavailable"),
}

BRANCHES: dict[type[GanserveError], str] = {
    BadRequest: "invalid_request",
    Forbidden: "forbidden",
    NotFound: "not_found",
    Conflict: "conflict",
    Gone: "gone",
    QueueFull: "queue_full",
    QuotaExceeded: "quota",
    Transient: "unavailable",
}
"""What an error answers whose own code is not in the table."""

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}  # those that the router raises


class HttpProblem(Exception):
    """An error that only HTTP knows; everything else raises from `jobs.errors`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors = code, detail, errors
        self.headers = dict(headers or {})


def problem(error: Exception) -> HttpProblem:
    """What the caller is told of `error`; logs it if nobody foresaw it."""
    match error:
        case HttpProblem():
            return error
        case RequestValidationError() | ValidationError():
            return invalid(error.errors())
        case HTTPException():
            code = HTTP_CODES.get(error.status_code, "malformed_request")
            return HttpProblem(code, _http_detail(code), headers=error.headers)
        case GanserveError():
            return _of_ours(error)
    logger.error("unhandled error", exc_info=error)
    return HttpProblem("internal_error", "Something went wrong here; the request id finds it in our log.")


def invalid(errors: Sequence[Any]) -> HttpProblem:
    """422 from pydantic's list of errors, naming each field but never its value."""
    shown = [
        {"path": _path(e["loc"]), "message": _message(e["msg"]), "type": str(e["type"])}
        for e in errors[:MAX_ERRORS]
    ]
    over = shown and all(e["type"] in ("too_long", "limit_exceeded") for e in shown)
    first = shown[0]
    detail = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return HttpProblem("limit_exceeded" if over else "invalid_request", detail + more, errors=shown)


def answer(request: Request, problem: HttpProblem) -> JSONResponse:
    """`problem` as a response to `request`."""
    entry = CODES[problem.code]
    request.state.problem = problem.code  # for those who count and log answers
    body = Problem(
        type=f"{request.app.state.settings.public_url}/errors/{problem.code}",
        title=entry.title,
        status=entry.status,
        detail=problem.detail,
        code=problem.code,
        request_id=request.state.request_id,
        errors=problem.errors,
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        entry.status,
        {"Cache-Control": "no-store"} | problem.headers,
        media_type="application/problem+json",
    )


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """The exception handler of all errors that the table knows."""
    return answer(request, problem(error))


def _of_ours(error: GanserveError) -> HttpProblem:
    fallback = next(
        (code for branch, code in BRANCHES.items() if isinstance(error, branch)), "internal_error"
    )
    code = error.code if error.code in CODES else fallback
    if code == "internal_error":
        logger.error("unexpected error of ours", exc_info=error)
        return HttpProblem(code, "Something went wrong here; the request id finds it in our log.")
    if isinstance(error, Transient):  # its message names hosts and keys: that is for the log
        logger.warning("unavailable: %s", error)
        return HttpProblem(code, type(error).__doc__ or "", headers={"Retry-After": str(RETRY_LATER_S)})
    headers = {}
    if isinstance(error, QueueFull | QuotaExceeded):
        headers["Retry-After"] = str(error.retry_after_s)
    elif code == "in_progress":
        headers["Retry-After"] = str(RETRY_SOON_S)
    return HttpProblem(code, str(error)[:MAX_TEXT], headers=headers)


def _http_detail(code: str) -> str:
    return {
        "not_found": "Nothing is at this address.",
        "method_not_allowed": "This address does not take that method.",
    }.get(code, "The request could not be read.")


def _path(loc: Sequence[str | int]) -> str:
    return ".".join(_printable(str(part), 64) for part in loc)[:MAX_TEXT]


def _message(text: str) -> str:
    return _printable(text.removeprefix("Value error, "), MAX_TEXT)


def _printable(text: str, limit: int) -> str:
    """At most `limit` characters; what cannot be printed becomes a question mark."""
    cut = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return cut + "…" if len(text) > limit else cut
