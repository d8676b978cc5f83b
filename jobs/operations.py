"""The port for operations that every process has: `/metrics`, `/healthz`, `/readyz`. Not for callers.

    GET /healthz   200 while every loop makes progress, else 503 with the silent ones and their ages
    GET /readyz    200 when the process can do its work, else 503 with what is missing
    GET /metrics   Prometheus' text format

It is served by a thread of its own, so it answers while the process works, and also while it hangs.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, generate_latest

from jobs.liveness import Liveness
from jobs.metrics import REGISTRY, Process
from jobs.settings import Settings

log = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
IDLE_S = 10.0  # a silent connection is closed

Checks = Callable[[], Mapping[str, str]]


def all_well() -> dict[str, str]:
    """Nothing can be missing."""
    return {}


class Operations:
    """What the port answers."""

    def __init__(
        self,
        process: str,
        liveness: Liveness,
        missing: Checks = all_well,
        registries: Sequence[CollectorRegistry] = (REGISTRY,),
    ) -> None:
        """missing: what the process still lacks for its work, by name; registries: what it measures."""
        self._liveness, self._missing = liveness, missing
        own = CollectorRegistry()
        own.register(Process(process, liveness.ages_s))
        self._registries = (*registries, own)

    def metrics(self) -> bytes:
        return b"".join(generate_latest(registry) for registry in self._registries)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        if path == "/metrics":
            return 200, METRICS_TYPE, self.metrics()
        if path == "/healthz":
            silent = {name: f"silent for {age_s:.0f} s" for name, age_s in self._liveness.silent().items()}
            return _state("ok", "stalled", silent)
        if path == "/readyz":
            return _state("ready", "not ready", self._missing())
        return HTTPStatus.NOT_FOUND, "application/json", b"{}"


def _state(good: str, bad: str, wrong: Mapping[str, str]) -> tuple[int, str, bytes]:
    body: dict[str, Any] = {"status": bad if wrong else good, "checks": dict(wrong)}
    return 503 if wrong else 200, "application/json", orjson.dumps(body)


def serve(operations: Operations, settings: Settings) -> ThreadingHTTPServer | None:
    """Start serving at `metrics_host:metrics_port`; None where that is 0. Raises OSError for a taken port."""
    if not settings.metrics_port:
        return None

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            status, media_type, body = operations.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            return "ganserve"

        def log_message(self, format: str, *args: Any) -> None:
            log.debug(format, *args)

    server = ThreadingHTTPServer((settings.metrics_host, settings.metrics_port), Handler)
    threading.Thread(target=server.serve_forever, name="operations", daemon=True).start()
    return server
