"""A service of a few lines, to test the client against sockets' worth of HTTP without any."""

import hashlib
import json
from collections.abc import Callable

import httpx2 as httpx
import pytest

PICTURE = b"not really a picture" * 100
JOB_ID = "job_" + "0" * 26


def view(**changes: object) -> dict[str, object]:
    output = {
        "name": "0.png",
        "role": "image",
        "index": 0,
        "media_type": "image/png",
        "size_bytes": len(PICTURE),
        "sha256": hashlib.sha256(PICTURE).hexdigest(),
        "url": "http://blobs.test/0.png?expires=1",
        "about": {},
    }
    urls = {"self": "", "events": "", "cancel": "", "retry": ""}
    job = {
        "id": JOB_ID, "kind": "generate", "model": "m", "status": "succeeded", "terminal": True, "seq": 4,
        "cancel_requested": False, "input": {}, "output": {}, "metadata": {}, "priority": "normal",
        "progress": {"value": 1.0}, "outputs": [output], "result": None, "error": None, "attempts": 1,
        "metrics": {}, "created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None,
        "expires_at": None, "urls": urls,
    }  # fmt: skip
    return job | changes


def event(kind: str, data: object, seq: int | None = None) -> bytes:
    head = f"id: {seq}\n" if seq is not None else ""
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


class Service:
    """Answers from `replies` in turn; keeps the requests."""

    def __init__(self) -> None:
        self.replies: list[httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(request)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None: ...

    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("asyncio.sleep", at_once)
