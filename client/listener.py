"""A receiver on this machine, to see what webhooks say: it verifies each and hands it on."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client.errors import BadWebhook
from client.webhooks import verify_webhook

MAX_BODY = 8 * 2**20

Heard = Callable[[dict[str, Any]], None]


class Listener(ThreadingHTTPServer):
    """Listens on loopback at `port` (0: any that is free); `secret` may be set after the start.

    `heard` gets each event that verifies, once for each `webhook-id`; `refused` the reason of any other.
    """

    daemon_threads = True

    def __init__(self, port: int, *, secret: str, heard: Heard, refused: Callable[[str], None]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.secret, self.heard, self.refused = secret, heard, refused
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Listener
    timeout = 10

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > MAX_BODY:
            return self._answer(413)
        body = self.rfile.read(int(length))
        try:
            event = verify_webhook(dict(self.headers.items()), body, self.server.secret)
        except BadWebhook as error:
            self.server.refused(str(error))
            return self._answer(400)
        event_id = self.headers["webhook-id"]
        if event_id not in self.server.seen:
            self.server.seen.add(event_id)
            self.server.heard(event)
        self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Only events are shown."""
