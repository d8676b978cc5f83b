"""`Client`: the service from ordinary Python. What calls do is in `client.flows`; here are only sockets."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx

from client import calls, flows
from client.calls import Call, Request, options
from client.credentials import KeyAuth
from client.errors import ClientError, Unreachable, error_of
from client.events import Event, Follower
from client.flows import Fetch, Flow, Pause, Step
from client.packing import packed
from jobs.estimates import Estimate
from jobs.schemas import ImageView, JobView
from jobs.usage import UsageView

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
    """The service at `url`. Close it, or use it in a `with` block. Not for use by several threads at once.

    Calls raise `client.errors.ClientError`; those that can be repeated safely are, for about 15 s.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`api_key`: left out, that of the environment, `GANSERVE_API_KEY`; a service may need none."""
        self._http = httpx.Client(
            base_url=url,
            auth=KeyAuth(url, api_key),
            transport=transport,
            headers={"User-Agent": "ganserve-client"},
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(
        self, request: Request | Mapping[str, Any], *, wait_s: int = 0, idempotency_key: str | None = None
    ) -> JobView:
        """Queue a job. With `wait_s` (<= 60) the answer is the finished job if it ends in that time."""
        key = idempotency_key or str(uuid.uuid4())
        return self._run(flows.sent(calls.submit(request, key=key, wait_s=wait_s)))

    def get(self, job_id: str) -> JobView:
        return self._run(flows.sent(calls.get_job(job_id)))

    def jobs(self, *, limit: int | None = 20, **filters: Any) -> list[JobView]:
        """Newest first. Filters: status, kind, model, created_after, created_before, `metadata.<key>`."""
        return self._run(flows.pages(filters, limit=limit))

    def wait(
        self,
        job_id: str,
        *,
        timeout_s: float | None = None,
        changed: Callable[[JobView], None] | None = None,
        check: bool = True,
    ) -> JobView:
        """The job when it has ended. With `check`, JobUnsuccessful unless it succeeded. StillRunning."""
        flow = flows.finished(job_id, timeout_s=timeout_s, changed=changed)
        return self._run(flows.succeeded(flow) if check else flow)

    def stream(self, job_id: str, *, after_seq: int | None = None) -> Iterator[Event]:
        """The events of a job up to its `end`, through broken connections."""
        follower = Follower(job_id, after_seq)
        while not follower.ended:
            error: ClientError | None = None
            try:
                with self._http.sse(follower.path, **follower.request()) as source:
                    if source.response.status_code >= 400:
                        source.response.read()
                        raise error_of(source.response)
                    for sent in source:
                        yield follower.read(sent)
            except httpx.TransportError as failure:
                error = Unreachable(str(failure))
            except ClientError as failure:
                error = failure
            if not follower.ended:
                time.sleep(follower.pause_after(error))

    def cancel(self, job_id: str) -> JobView:
        return self._run(flows.sent(calls.cancel(job_id)))

    def retry(self, job_id: str) -> JobView:
        return self._run(flows.sent(calls.retry(job_id)))

    def pause(self, job_id: str) -> JobView:
        """Begin no further shard of a dataset."""
        return self._run(flows.sent(calls.pause(job_id)))

    def resume(self, job_id: str) -> JobView:
        return self._run(flows.sent(calls.resume(job_id)))

    def extend(self, job_id: str, count: int) -> JobView:
        """So many samples more of a dataset."""
        return self._run(flows.sent(calls.extend(job_id, count)))

    def estimate(self, request: Request | Mapping[str, Any]) -> Estimate:
        """What a job would make, take and cost."""
        return self._run(flows.sent(calls.estimate(request)))

    def submit_batch(self, lines: Path | bytes) -> JobView:
        """Hand in a JSONL file of jobs, `custom_id` and `body` in each line."""
        body = lines.read_bytes() if isinstance(lines, Path) else lines
        return self._run(flows.sent(calls.submit_batch(body, key=str(uuid.uuid4()))))

    def delete(self, job_id: str) -> None:
        self._run(flows.sent(calls.delete(job_id)))

    def upload_image(self, picture: Path | bytes, media_type: str | None = None) -> ImageView:
        return self._run(flows.sent(calls.upload_image(picture, media_type)))

    def image(self, image_id: str) -> ImageView:
        return self._run(flows.sent(calls.get_image(image_id)))

    def download(self, job: JobView, directory: Path, *, names: tuple[str, ...] | None = None) -> list[Path]:
        """Write the job's outputs (all, or those named) into `directory`; each is checked by its sha256."""
        directory.mkdir(parents=True, exist_ok=True)
        return self._run(flows.downloaded(job, directory, names=names))

    def models(self) -> list[dict[str, Any]]:
        return self._run(flows.sent(calls.list_models()))

    def model(self, name: str) -> dict[str, Any]:
        return self._run(flows.sent(calls.get_model(name)))

    def directions(self, model: str) -> list[dict[str, Any]]:
        return self._run(flows.sent(calls.directions(model)))

    def discover(self, model: str, method: str, name: str, **given: Any) -> JobView:
        """Queue the finding of directions, or of what else a method makes, as the set `name`.

        `given`: the method's own fields, such as `factor` or `samples`; docs/directions.md lists them.
        """
        return self.submit(calls.discovery(model, method, name, given))

    def import_model(
        self, checkpoint: Path, *, name: str, licence: str | None = None, classes: Path | None = None
    ) -> JobView:
        """Upload a checkpoint, a file or a folder; the answer is the `import` job that converts it.

        `classes`: a text file with the name of each class on a line.
        """
        with packed(checkpoint, classes) as file:
            call = calls.import_model(file, name=name, key=str(uuid.uuid4()), licence=licence)
            return self._run(flows.sent(call))

    def import_directions(self, file: Path, *, model: str, name: str, **fields: str) -> JobView:
        """Upload a file of directions as the set `name`; the answer is the `discover` job that reads it.

        `fields`: space, first, licence, sha256, model_sha256, where the file cannot say.
        """
        given = {"set": name} | fields
        call = calls.import_directions(file, model=model, key=str(uuid.uuid4()), fields=given)
        return self._run(flows.sent(call))

    def delete_directions(self, model: str, name: str) -> None:
        """Remove a set that was found or imported."""
        self._run(flows.sent(calls.delete_directions(model, name)))

    def download_weights(self, model: str, path: Path) -> Path:
        """A model's weights as a safetensors file, checked by its sha256."""
        return self._run(flows.weights(model, path))

    def usage(self) -> UsageView:
        """What this key's tenant uses and may use."""
        return self._run(flows.sent(calls.usage()))

    def send(self, call: Call[T]) -> T:
        """Make one call, such as those of `client.webhooks`."""
        return self._run(flows.sent(call))

    def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: do what it yields, send it the outcome or throw it the error."""
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._do(step)
                except ClientError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: Step) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        try:
            return self._fetch(step) if isinstance(step, Fetch) else self._call(step)
        except httpx.TransportError as error:
            raise Unreachable(f"{self._http.base_url}: {error or type(error).__name__}") from error

    def _call(self, call: Call[Any]) -> httpx.Response:
        if call.upload is None:
            return self._http.request(call.method, call.path, content=call.content, **options(call))
        with call.upload.open("rb") as file:
            return self._http.request(
                call.method, call.path, files={"file": file}, data=dict(call.fields), **options(call)
            )

    def _fetch(self, fetch: Fetch) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with self._http.stream("GET", fetch.url, follow_redirects=True) as reply:
            if reply.status_code >= 400:
                reply.read()
                raise error_of(reply)
            with fetch.path.open("wb") as file:
                for chunk in reply.iter_bytes():
                    size += file.write(chunk)
                    digest.update(chunk)
        return size, digest.hexdigest()
