"""Bodies, read with bounds: how large, how slow, in which type, and what JSON may hold.

JSON is read strictly: UTF-8 without a mark, no duplicate keys, no NaN, nothing nested deeper than any request
needs, no number that takes seconds to parse.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request
from python_multipart.multipart import parse_options_header

from api.problems import HttpProblem

MAX_DEPTH = 32
MAX_DIGITS = 40
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')


@dataclass(frozen=True)
class Pace:
    """A body must come within `grace_s`, plus one second for every `bytes_per_s` that it has."""

    grace_s: float = 30
    bytes_per_s: int = 64 * 1024


def media_type(request: Request) -> tuple[str, dict[str, str]]:
    """Content-Type as (type in lower case, parameters); ("", {}) when there is none."""
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    return kind.decode("latin-1"), {k.decode("latin-1"): v.decode("latin-1") for k, v in parameters.items()}


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises 413 over `limit` bytes, 415 if encoded, 408 if too slow."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HttpProblem("unsupported_media_type", "Send the body without a Content-Encoding.")
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(limit)
    pace: Pace = request.app.state.pace
    started, received = time.monotonic(), 0
    stream = request.stream()
    while True:
        allowed = pace.grace_s + received / pace.bytes_per_s - (time.monotonic() - started)
        try:
            async with asyncio.timeout(max(allowed, 0)):
                chunk = await anext(stream, None)
        except TimeoutError:
            detail = "The body came too slowly."
            raise HttpProblem("request_timeout", detail, headers={"Connection": "close"}) from None
        if chunk is None:
            return
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk


async def json_body(request: Request) -> bytes:
    """Dependency: the bytes of a JSON body, not yet parsed."""
    kind, parameters = media_type(request)
    charset = parameters.get("charset", "utf-8").lower()
    if kind != "application/json" or charset not in ("utf-8", "utf8"):
        raise HttpProblem("unsupported_media_type", "Send application/json in UTF-8.")
    return b"".join([c async for c in chunks(request, request.app.state.settings.max_body_bytes)])


async def no_body(request: Request) -> None:
    """Dependency: this call takes nothing, or an empty JSON object."""
    body = b"".join([c async for c in chunks(request, 1024)]).strip()
    if body and parse_json(body) != {}:
        detail = "This call takes no body: all that it needs is in the address."
        raise HttpProblem("invalid_request", detail)


def parse_json(raw: bytes) -> dict[str, Any]:
    """The object in `raw`. Raises 400 if it is not JSON as we read it, 422 if it is not an object."""
    if not raw.strip():
        raise HttpProblem("invalid_request", "The body is empty; send a JSON object.")
    try:
        text = raw.decode()
        _refuse_depth(text)
        parsed = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_int=_bounded_int
        )
    except UnicodeDecodeError:
        raise HttpProblem("malformed_json", "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise HttpProblem("malformed_json", detail) from None
    if not isinstance(parsed, dict):
        raise HttpProblem("invalid_request", "The body must be a JSON object.")
    return parsed


def _refuse_depth(text: str) -> None:
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise HttpProblem("malformed_json", f"The body is nested deeper than {MAX_DEPTH} levels.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) < len(pairs):
        raise HttpProblem("malformed_json", "An object has the same key twice.")
    return result


def _no_constant(name: str) -> NoReturn:
    raise HttpProblem("malformed_json", f"{name} is not JSON.")


def _bounded_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise HttpProblem("malformed_json", f"An integer has more than {MAX_DIGITS} digits.")
    return int(digits)


def _too_large(limit: int) -> HttpProblem:
    return HttpProblem("payload_too_large", f"The body is larger than {limit} bytes.")
