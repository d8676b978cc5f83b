"""What happens to every request before a route sees it, as ASGI middleware.

`Record` gives it an id, counts it, and turns whatever nobody foresaw into a 500 that tells nothing. `Gate`
refuses what no route should have to think about: foreign hosts and origins, ambiguous framing, oversized or
unreadable addresses and headers. `HeadAsGet` answers HEAD with the headers of GET.
"""

import ipaddress
import re
import time
from collections.abc import Collection
from urllib.parse import unquote_to_bytes, urlsplit

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from ulid import ULID

from api.metrics import Metrics
from api.problems import HttpProblem, answer, problem
from jobs import tracing

MAX_TARGET = 8192  # bytes of path and query
MAX_PARAMETERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 100
SINGLE = (b"host", b"content-length", b"content-type", b"idempotency-key", b"last-event-id", b"authorization")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
PROBED = ("/healthz", "/readyz")  # a probe names the address that it found, not a name of ours
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

UNTRACED = ("/healthz", "/readyz", "/metrics")

log = structlog.get_logger("api")


class Record:
    """Outermost: request id, trace, headers of every answer, log line, metrics, the last catch."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req_{ULID()}"
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        with tracing.span(
            "request",
            kind="server",
            parent=_caller_trace(scope),
            recorded=scope["path"] not in UNTRACED,
            request_id=request_id,
        ) as span:
            await self._answer(scope, receive, send, request_id, span)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, span: tracing.Span
    ) -> None:
        started, status = time.perf_counter(), 0

        async def stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["Traceresponse"] = tracing.traceparent() or ""
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
                headers.setdefault("Cache-Control", "no-store")
                for name, value in scope["state"].get("headers", {}).items():
                    headers[name] = value
            await send(message)

        try:
            await self.app(scope, receive, stamped)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception as error:
            if status:
                raise  # too late for an answer: the server cuts the connection
            await answer(Request(scope), problem(error))(scope, receive, stamped)
        finally:
            self._note(scope, status, time.perf_counter() - started, span)

    def _note(self, scope: Scope, status: int, seconds: float, span: tracing.Span) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        problem = scope["state"].get("problem")
        self.metrics.request(scope["method"], route, status, seconds, problem)
        method = scope["method"][:16]
        span.name(f"{method} {route}")
        span.set(**{"http.request.method": method, "http.route": route, "http.response.status_code": status})
        if status >= 500:
            span.fail(problem or str(status))
        about = {} if problem is None else {"problem": problem}
        log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **about)


def _caller_trace(scope: Scope) -> tracing.Trace | None:
    """Where the caller is in a trace. Two headers are as good as none."""
    given = Headers(scope=scope).getlist("traceparent")
    return tracing.read(given[0]) if len(given) == 1 else None


class Gate:
    """Refuses requests that no route should see."""

    def __init__(self, app: ASGIApp, public_url: str, allowed_hosts: Collection[str] = ()) -> None:
        """`allowed_hosts`: further names of this server; `*` for any."""
        self.app, self.public_url, self.allowed_hosts = app, public_url, allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except HttpProblem as refused:
                await answer(Request(scope), refused)(scope, receive, send)
                return
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        _check_sizes(scope)
        _check_framing(scope, headers)
        _check_target(scope)
        if not (
            "*" in self.allowed_hosts or scope["path"] in PROBED or self._ours(f"//{headers.get('host', '')}")
        ):
            raise HttpProblem("foreign_host", "The Host header names another server.")
        origin = headers.get("origin")
        if scope["method"] not in SAFE_METHODS and origin is not None and not self._ours(origin):
            # Without keys another site's page could act in a visitor's name.
            raise HttpProblem("foreign_origin", "Pages of other sites may not change anything here.")

    def _ours(self, url: str) -> bool:
        try:
            host = urlsplit(url).hostname
        except ValueError:
            return False
        known = (urlsplit(self.public_url).hostname, *self.allowed_hosts)
        return host is not None and (host in known or is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address) can only be this machine."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_sizes(scope: Scope) -> None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
        raise HttpProblem("uri_too_long", f"The address is longer than {MAX_TARGET} bytes.")
    if scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise HttpProblem("uri_too_long", f"The address has more than {MAX_PARAMETERS} parameters.")
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEADER_BYTES or len(scope["headers"]) > MAX_HEADERS:
        detail = f"At most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them."
        raise HttpProblem("headers_too_large", detail, headers={"Connection": "close"})


def _check_framing(scope: Scope, headers: Headers) -> None:
    names = [name for name, _ in scope["headers"]]
    for name in SINGLE:
        if names.count(name) > 1:
            raise HttpProblem("bad_header", f"The header {name.decode()} is there twice.")
    length = headers.get("content-length")
    if length is not None and ("transfer-encoding" in headers or not _is_size(length)):
        detail = "Content-Length must be a number, and stand without Transfer-Encoding."
        raise HttpProblem("malformed_request", detail, headers={"Connection": "close"})
    if any(b"\0" in value or b"\r" in value or b"\n" in value for _, value in scope["headers"]):
        raise HttpProblem("bad_header", "A header holds a control character.")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise HttpProblem("expectation_failed", "Only 100-continue can be expected.")


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _check_target(scope: Scope) -> None:
    for part in (scope.get("raw_path") or scope["path"].encode(), scope["query_string"]):
        try:
            text = unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise HttpProblem("malformed_request", "The address is not UTF-8.") from None
        if any(c < " " or c == "\x7f" for c in text):
            raise HttpProblem("malformed_request", "The address holds a control character.")


class HeadAsGet:
    """HEAD runs as GET, its body dropped and its stream ended at once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        answered = False

        async def headers_only(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered = True

        async def hang_up() -> Message:
            return {"type": "http.disconnect"} if answered else await receive()

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, hang_up, headers_only)
        finally:
            scope["route"] = as_get.get("route")
