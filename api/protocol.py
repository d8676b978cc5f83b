"""HTTP/1.1 as uvicorn reads it, with our limits and our errors where the parser itself refuses a request."""

import json
import re
import sys
from typing import Any

import httptools
from ulid import ULID
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.edge import MAX_HEADER_BYTES, MAX_TARGET
from api.problems import CODES

REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
}
HEAD_S = 30.0  # for a request line and headers to come
_METHOD = re.compile(rb"[A-Z]{1,24} /")
SLACK = 4  # the parser stops at so many times the limits; below that the gate answers


class TooLong(Exception):
    """Raised into the parser, which gives up on the request."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class BoundedProtocol(HttpToolsProtocol):
    """Refuses endless addresses and headers while they arrive, and heads that never end."""

    _head_bytes = 0
    _head_timer: Any = None
    _recent = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._recent = data[:32]
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > SLACK * MAX_TARGET:
            raise TooLong("uri_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > SLACK * MAX_HEADER_BYTES:
            raise TooLong("headers_too_large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Called while the parser's exception is being handled: it says what was wrong."""
        error = sys.exc_info()[1]
        cause = error.__context__ if error else None
        if isinstance(cause, TooLong):
            code, detail = cause.code, "The head of the request is too long."
        elif isinstance(error, httptools.HttpParserInvalidMethodError) and _METHOD.match(self._recent):
            code, detail = "method_not_allowed", "There is no such method."
        else:
            code, detail = "malformed_request", "The request is not well-formed HTTP."
        self._stop_timer()
        self.transport.write(_problem(code, detail))
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.close()


def _problem(code: str, detail: str) -> bytes:
    status, title = CODES[code]
    request_id = f"req_{ULID()}"
    body = json.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": request_id,
        }
    ).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
