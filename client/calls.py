"""One function for each route (API.md): what to send and how to read the answer. Nothing is sent here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import httpx2 as httpx

from jobs.estimates import Estimate
from jobs.schemas import AnySubmitted, ImageView, JobPage, JobView, submit_adapter
from jobs.usage import UsageView

T = TypeVar("T")
Request = AnySubmitted
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the reader of its answer. `repeatable`: sending it twice does no harm."""

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    upload: Path | None = None  # sent as the multipart field `file`, beside `fields`
    fields: Mapping[str, str] = field(default_factory=dict)
    read_timeout_s: float = 30.0
    repeatable: bool = True


def submit(request: Request | Mapping[str, Any], *, key: str, wait_s: int = 0) -> Call[JobView]:
    """POST /v1/jobs. A mapping is checked against the schemas first; only what was set is sent."""
    if isinstance(request, Mapping):
        request = submit_adapter.validate_json(httpx.Request("POST", "http://x", json=request).content)
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    if wait_s:
        headers["Prefer"] = f"wait={wait_s}"
    body = request.model_dump_json(exclude_unset=True).encode()
    return Call("POST", "/v1/jobs", _job, headers=headers, content=body, read_timeout_s=30 + wait_s)


def discovery(model: str, method: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a `discover` job."""
    return {"kind": "discover", "model": model, "input": {"method": method, "name": name, **given}}


def get_job(job_id: str, *, wait_s: int = 0, after_seq: int | None = None) -> Call[JobView]:
    """GET /v1/jobs/{id}; with `wait_s`, answers when `seq` exceeds `after_seq`, or after that time."""
    params = {"wait": str(wait_s)} if wait_s else {}
    if after_seq is not None:
        params["after_seq"] = str(after_seq)
    return Call("GET", f"/v1/jobs/{job_id}", _job, params=params, read_timeout_s=30 + wait_s)


def list_jobs(filters: Mapping[str, Any], *, limit: int, cursor: str | None) -> Call[JobPage]:
    """GET /v1/jobs. `filters`: status, kind, model, created_after, created_before, metadata.<key>."""
    params = {**filters, "limit": limit} | ({"cursor": cursor} if cursor else {})
    return Call("GET", "/v1/jobs", lambda reply: JobPage.model_validate_json(reply.content), params=params)


def cancel(job_id: str) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{job_id}/cancel", _job)


def retry(job_id: str) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{job_id}/retry", _job, repeatable=False)


def delete(job_id: str) -> Call[None]:
    return Call("DELETE", f"/v1/jobs/{job_id}", lambda reply: None, repeatable=False)


def pause(job_id: str) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{job_id}/pause", _job)


def resume(job_id: str) -> Call[JobView]:
    return Call("POST", f"/v1/jobs/{job_id}/resume", _job)


def extend(job_id: str, count: int) -> Call[JobView]:
    """POST /v1/jobs/{id}/extend: so many samples more."""
    headers, body = {"Content-Type": "application/json"}, b'{"count": %d}' % count
    return Call("POST", f"/v1/jobs/{job_id}/extend", _job, headers=headers, content=body, repeatable=False)


def estimate(request: Request | Mapping[str, Any]) -> Call[Estimate]:
    """POST /v1/estimates: what the job would take. The body is that of a submit."""
    body = submit(request, key="").content
    headers = {"Content-Type": "application/json"}
    return Call(
        "POST", "/v1/estimates", lambda reply: Estimate.model_validate_json(reply.content),
        headers=headers, content=body,
    )  # fmt: skip


def submit_batch(lines: bytes, *, key: str) -> Call[JobView]:
    """POST /v1/batches. `lines`: JSONL, in each `{"custom_id": "…", "body": {a job}}`."""
    headers = {"Content-Type": "application/jsonl", "Idempotency-Key": key}
    return Call("POST", "/v1/batches", _job, headers=headers, content=lines, read_timeout_s=600)


def upload_image(picture: Path | bytes, media_type: str | None = None) -> Call[ImageView]:
    """POST /v1/images. The answer is the same picture's id each time, so it may be sent twice."""
    media_type = media_type or _media_type(picture)
    content = picture.read_bytes() if isinstance(picture, Path) else picture
    return Call("POST", "/v1/images", _image, headers={"Content-Type": media_type}, content=content)


def get_image(image_id: str) -> Call[ImageView]:
    return Call("GET", f"/v1/images/{image_id}", _image)


def list_models() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/models", lambda reply: reply.json()["data"])


def get_model(name: str) -> Call[dict[str, Any]]:
    return Call("GET", f"/v1/models/{name}", lambda reply: reply.json())


def directions(name: str) -> Call[list[dict[str, Any]]]:
    return Call("GET", f"/v1/models/{name}/directions", lambda reply: reply.json()["data"])


def import_model(checkpoint: Path, *, name: str, key: str, licence: str | None = None) -> Call[JobView]:
    """POST /v1/models: the file goes up, an `import` job comes back."""
    fields = {"name": name} | ({"licence": licence} if licence else {})
    headers = {"Idempotency-Key": key}
    return Call(
        "POST", "/v1/models", _job, headers=headers, upload=checkpoint, fields=fields, read_timeout_s=600
    )


def import_directions(file: Path, *, model: str, key: str, fields: Mapping[str, str]) -> Call[JobView]:
    """POST /v1/models/{name}/directions: the file goes up, a `discover` job comes back."""
    path, headers = f"/v1/models/{model}/directions", {"Idempotency-Key": key}
    return Call("POST", path, _job, headers=headers, upload=file, fields=fields, read_timeout_s=600)


def delete_directions(model: str, name: str) -> Call[None]:
    path = f"/v1/models/{model}/directions/{name}"
    return Call("DELETE", path, lambda reply: None, repeatable=False)


def usage() -> Call[UsageView]:
    return Call("GET", "/v1/usage", lambda reply: UsageView.model_validate_json(reply.content))


def _job(reply: httpx.Response) -> JobView:
    return JobView.model_validate_json(reply.content)


def _image(reply: httpx.Response) -> ImageView:
    return ImageView.model_validate_json(reply.content)


def _media_type(picture: Path | bytes) -> str:
    if isinstance(picture, Path):
        if picture.suffix.lower() not in MEDIA_TYPES:
            raise ValueError(f"{picture} is no PNG, JPEG or WebP file by its name; give media_type")
        return MEDIA_TYPES[picture.suffix.lower()]
    raise ValueError("give media_type with bytes")


def options(call: Call[Any]) -> dict[str, Any]:
    """What both drivers pass on to httpx2 besides the body."""
    timeout = httpx.Timeout(10.0, read=call.read_timeout_s, write=60.0)
    return {"params": dict(call.params), "headers": dict(call.headers), "timeout": timeout}
