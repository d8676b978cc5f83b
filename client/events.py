"""The events of one job (SSE), over as many connections as it takes.

`id:` is the job's `seq`; a connection that breaks is made again with `Last-Event-ID`, so no durable event is
missed. Progress and previews are live only. The last event is `end`.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from client.errors import ApiError, Busy, ClientError, Unreachable
from client.flows import TRIES, back_off
from jobs.schemas import JobView

MAX_EVENT_BYTES = 64 * 2**20  # `end` holds the whole job: 1024 outputs, or up to 1 MiB of inline pictures
SILENCE_S = 45.0  # the service sends a comment line every 15 s


@dataclass(frozen=True)
class Event:
    type: str
    """status, progress, preview, output or end."""
    seq: int | None
    """The job's `seq` at the last durable event: this one, or the one before."""
    data: dict[str, Any]

    def job(self) -> JobView:
        """The job, of a `status` (without outputs) or `end` event."""
        return JobView.model_validate({"outputs": [], **self.data})


class Follower:
    """Where a stream is: what to ask for next, and if it has ended."""

    def __init__(self, job_id: str, after_seq: int | None) -> None:
        self.path = f"/v1/jobs/{job_id}/events"
        self.last_seq = after_seq
        self.ended = False
        self._failures = 0

    def request(self) -> dict[str, Any]:
        """Keyword arguments for `httpx2`'s `sse`."""
        headers = {} if self.last_seq is None else {"Last-Event-ID": str(self.last_seq)}
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        return {"headers": headers, "timeout": timeout, "max_event_size": MAX_EVENT_BYTES}

    def read(self, sent: httpx.ServerSentEvent) -> Event:
        """The event, noted. A repeated id on a live event moves nothing."""
        self._failures = 0
        seq = int(sent.id) if sent.id.isascii() and sent.id.isdigit() else None
        if seq is not None:
            self.last_seq = max(seq, self.last_seq or 0)
        self.ended = sent.event == "end"
        return Event(sent.event, seq, json.loads(sent.data))

    def pause_after(self, error: ClientError | None) -> float:
        """Seconds before the next connection; raises `error` when it will not pass, or has not for long."""
        self._failures += 1
        error = error or Unreachable("the stream ended before the job did")
        if self._failures >= TRIES or (isinstance(error, ApiError) and not isinstance(error, Busy)):
            raise error
        return back_off(self._failures - 1, error)
