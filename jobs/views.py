"""Rows as callers see them, in answers and webhooks: links signed, times in RFC 3339, defaults filled in."""

import base64
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from jobs.blobs import BlobStore
from jobs.errors import UnknownBucket
from jobs.schemas import ImageView, JobUrls, JobView, Output, Progress, Status
from jobs.settings import Settings
from jobs.store import EventRow, ImageRow, JobRow, OutputRow

INLINE_BYTES = 1024 * 1024  # of all outputs of a job together


class Views:
    def __init__(self, blobs: BlobStore, settings: Settings) -> None:
        self._blobs, self._base, self._ttl_s = blobs, settings.public_url, settings.url_ttl_s

    def job(self, row: JobRow, *, inline: bool = True) -> JobView:
        """`row` with a link to each output, and with its outputs inside if it asked for that. Blocks."""
        view = self._bare(row)
        view.outputs = [self._linked(output) for output in row.outputs]
        if inline and row.terminal and view.output.get("inline"):  # rows of another version may lack it
            self._put_inline(view.outputs, row)
        return view

    def listed(self, row: JobRow) -> JobView:
        """`row` in a list: its outputs have no links, for signing thousands would take long."""
        view = self._bare(row)
        view.outputs = [_output(output) for output in row.outputs]
        return view

    def transition(self, row: JobRow, event: EventRow) -> dict[str, Any]:
        """The job, without outputs, as it became in `event`; `row` may be ahead of it."""
        status = Status(event.body["status"])
        view = self._bare(row).model_dump(mode="json", exclude={"outputs"})
        view |= event.body | {"seq": event.seq, "terminal": status.terminal}
        if not status.terminal:
            view |= {"result": None, "metrics": {}, "finished_at": None, "expires_at": None}
        if status is Status.QUEUED:
            view |= {"progress": Progress().model_dump(), "started_at": None}
        return view

    def told(self, row: JobRow, event: EventRow) -> dict[str, Any]:
        """The job as it became in `event`, for a webhook: with links to its outputs if they are that event's.

        They are not when the job has been retried since.
        """
        if row.seq == event.seq:
            return self.job(row, inline=False).model_dump(mode="json")
        view = self.transition(row, event) | {"outputs": []}
        if view["terminal"]:
            view["finished_at"] = rfc3339(event.at)
        return view

    def output(self, row: JobRow, name: str) -> dict[str, Any] | None:
        """One output with a link; None when the job has it no more."""
        found = next((output for output in row.outputs if output.name == name), None)
        return None if found is None else self._linked(found).model_dump(mode="json")

    def image(self, row: ImageRow) -> ImageView:
        return ImageView(
            id=row.id,
            width=row.width,
            height=row.height,
            media_type=row.media_type,
            size_bytes=row.size_bytes,
            sha256=row.sha256,
            created_at=rfc3339(row.created_at),
            url=f"{self._base}/v1/images/{row.id}/content",
        )

    def location(self, job_id: str) -> str:
        return f"{self._base}/v1/jobs/{job_id}"

    def batch_location(self, job_id: str) -> str:
        return f"{self._base}/v1/batches/{job_id}"

    def _bare(self, row: JobRow) -> JobView:
        request = orjson.loads(row.request_json)
        here = self.location(row.id)
        return JobView(
            id=row.id,
            kind=row.kind,
            model=row.model,
            status=row.status,
            terminal=row.terminal,
            seq=row.seq,
            cancel_requested=row.cancel_requested,
            input=request["input"],
            output=request.get("output", {}),
            metadata=row.metadata,
            priority=row.priority,
            progress=row.progress,
            outputs=[],
            result=row.result,
            error=row.error,
            attempts=row.attempts,
            metrics=row.metrics,
            parent=row.parent,
            parts=row.parts,
            created_at=rfc3339(row.created_at),
            started_at=_time(row.started_at),
            finished_at=_time(row.finished_at),
            expires_at=_time(row.expires_at),
            urls=JobUrls(self=here, events=f"{here}/events", cancel=f"{here}/cancel", retry=f"{here}/retry"),
        )

    def _linked(self, output: OutputRow) -> Output:
        view = _output(output)
        if output.key is not None and not output.gone:
            with suppress(UnknownBucket):  # the operator has taken it away since
                view.url, expires_at = self._blobs.url(
                    output.key, filename=output.name, media_type=output.media_type, ttl_s=self._ttl_s
                )
                view.url_expires_at = rfc3339(expires_at)
        return view

    def _put_inline(self, views: list[Output], row: JobRow) -> None:
        room = INLINE_BYTES
        for view, output in zip(views, row.outputs, strict=True):
            if output.key is None or output.gone or output.size_bytes > room:
                continue
            view.base64 = base64.b64encode(self._blobs.read(output.key)).decode()
            room -= output.size_bytes


def _output(row: OutputRow) -> Output:
    return Output(
        name=row.name,
        role=row.role,
        index=row.index,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        about=row.about,
    )


def _time(epoch_s: float | None) -> str | None:
    return None if epoch_s is None else rfc3339(epoch_s)


def rfc3339(epoch_s: float) -> str:
    """`1700000000.25` -> `2023-11-14T22:13:20.250Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
