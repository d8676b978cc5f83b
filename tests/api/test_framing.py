"""What only a real server can show: raw bytes on a socket, slow and broken bodies, callers that hang up."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from api.body import Pace
from api.protocol import BoundedProtocol
from jobs.blobs.directory import DirectoryBlobStore
from jobs.queue import MemoryJobQueue
from jobs.schemas import Status
from jobs.settings import Settings
from jobs.store import JobStore

from .conftest import Worker, generate, png, until
from .test_bad_input import assert_no_leak

BODY = json.dumps(generate()).encode()
HOST = b"Host: 127.0.0.1\r\n"


class Server:
    """uvicorn in a thread, on a port of its own."""

    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app,
            port=0,
            http=BoundedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self.app, self.server = app, uvicorn.Server(config)
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()))

    def start(self) -> None:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of the answer to raw bytes."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):  # it may answer and hang up before all is sent
                for piece in pieces:
                    connection.sendall(piece)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        assert piece, f"hung up after {raw!r}"
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


@pytest.fixture
def server(make_app: Callable[..., FastAPI]) -> Iterator[Server]:
    server = Server(make_app(pace=Pace(grace_s=0.5)))
    server.start()
    yield server
    server.stop()


def post(extra: bytes = b"", body: bytes = BODY, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = b"POST /v1/jobs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    return head + f"Content-Length: {size}\r\n".encode() + extra + b"\r\n" + body


CHUNKED = (
    b"POST /v1/jobs HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
GET = b"GET /v1/jobs HTTP/1.1\r\n"
CASES = {
    "6.8.21 length and encoding": (post(b"Transfer-Encoding: chunked\r\n"), 400),
    "6.8.22 two lengths": (post(b"Content-Length: 5\r\n"), 400),
    "6.8.22 the same length twice": (post(f"Content-Length: {len(BODY)}\r\n".encode()), 400),
    "6.8.23 negative length": (post(length=-5), 400),
    "6.8.24 Expect": (post(b"Expect: x\r\n"), 417),
    "6.8.25 100 kB of headers": (GET + HOST + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "6.8.25 1 MB of headers": (GET + HOST + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
    "6.8.26 1000 headers": (GET + HOST + b"".join(b"X-%d: a\r\n" % i for i in range(1000)) + b"\r\n", 431),
    "6.8.27 NUL in a header": (GET + HOST + b"X-Nul: a\0b\r\n\r\n", 400),
    "6.8.19 no Host": (GET + b"\r\n", 400),
    "6.8.19 two Hosts": (GET + HOST + HOST + b"\r\n", 400),
    "6.8.34 unknown method": (b"BREW /v1/jobs HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "6.6.24 address of 10 kB": (b"GET /v1/jobs/" + b"a" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "6.6.24 address of 1 MB": (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "6.6.16 dots": (b"GET /v1/jobs/../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "6.6.26 bytes that are not ASCII": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "garbage": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400),
    "bad chunk": (CHUNKED + b"zz\r\n", 400),
    "6.1.35 too large, chunked": (CHUNKED + b"80000\r\n" + b" " * 0x80000 + b"\r\n0\r\n\r\n", 413),
    "6.1.34 too large by its length": (post(length=10**9), 413),
}


@pytest.mark.parametrize("name", CASES)
def test_framing_is_refused_with_a_problem(server: Server, store: JobStore, name: str) -> None:
    raw, status = CASES[name]
    answered, headers, body = server.send(raw)
    assert answered == status, body
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert (problem["status"], problem["request_id"]) == (status, headers["x-request-id"])
    assert_no_leak(body.decode())
    assert store.list("default") == []


def test_a_chunked_body_within_the_limit_is_taken(server: Server) -> None:
    status, _, _ = server.send(CHUNKED, b"%x\r\n" % len(BODY) + BODY + b"\r\n", b"0\r\n\r\n")
    assert status == 202


def test_6_1_43_a_body_that_trickles_is_408(server: Server, store: JobStore) -> None:
    with server.connect() as connection:
        connection.sendall(post()[:-20])
        with contextlib.suppress(OSError):
            for _ in range(10):
                time.sleep(0.1)
                connection.sendall(b" ")
        status, headers, body = read_answer(connection)
    assert (status, json.loads(body)["code"]) == (408, "request_timeout")
    assert headers["connection"] == "close"
    assert store.list("default") == []


def test_6_1_43_an_upload_that_trickles_is_408_and_leaves_nothing(server: Server, settings: Settings) -> None:
    head = b"POST /v1/images HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    status, _, _ = server.send(head + png()[:30])
    assert status == 408
    assert not [path for path in settings.work_dir.rglob("*") if path.is_file()]


def test_6_1_44_a_caller_that_leaves_mid_body_leaves_nothing(
    server: Server, store: JobStore, queue: MemoryJobQueue, settings: Settings
) -> None:
    upload = (
        b"POST /v1/images HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc"
    )
    tasks = server.server.server_state.tasks

    def files() -> list[Path]:
        return [path for path in settings.work_dir.rglob("*") if path.is_file()]

    for raw, under_way in ((post()[:-5], lambda: tasks), (upload, files)):
        with server.connect() as connection:
            connection.sendall(raw)
            until(under_way)
        until(lambda: not tasks and not files())
    assert server.send(GET + HOST + b"\r\n")[0] == 200
    assert (store.list("default"), queue.sent) == ([], [])


def test_a_pipelined_request_behind_a_refused_one_is_not_smuggled(server: Server, store: JobStore) -> None:
    smuggled = post(b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n" + post())
    with server.connect() as connection:
        connection.sendall(smuggled)
        raw = b""
        while piece := connection.recv(65536):
            raw += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", raw) == [b"400"]
    assert store.list("default") == []


def test_a_stream_flows_while_the_job_runs_and_hanging_up_cancels_nothing(
    server: Server, store: JobStore, worker: Worker, blobs: DirectoryBlobStore
) -> None:
    _, _, body = server.send(post())
    job_id = json.loads(body)["id"]
    with server.connect() as connection:
        connection.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        raw = b""
        while b'"status": "queued"' not in raw and b'"status":"queued"' not in raw:
            raw += connection.recv(65536)
        claim = worker.claim(job_id)
        while b'"status": "running"' not in raw and b'"status":"running"' not in raw:
            raw += connection.recv(65536)
    until(lambda: server.app.state.streams.open == 0)
    row = store.get("default", job_id)
    assert (row.status, row.cancel_requested) == (Status.RUNNING, False)
    worker.succeed(job_id, claim=claim)


def test_a_waiting_caller_that_hangs_up_gives_its_place_back(server: Server) -> None:
    _, _, body = server.send(post())
    job_id = json.loads(body)["id"]
    with server.connect() as connection:
        connection.sendall(f"GET /v1/jobs/{job_id}?wait=60 HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        until(lambda: server.app.state.streams.open == 1)
    until(lambda: server.app.state.streams.open == 0)


def test_open_streams_do_not_hold_a_stop_back(server: Server) -> None:
    _, _, body = server.send(post())
    job_id = json.loads(body)["id"]
    with server.connect() as connection:
        connection.sendall(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        connection.recv(1024)
        server.stop()
        assert not server.thread.is_alive()
