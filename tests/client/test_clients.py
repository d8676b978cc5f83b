"""Both drivers, against the same service: each test runs once with `Client` and once with `AsyncClient`."""

import asyncio
import inspect

import httpx2 as httpx
import pytest

from client import AsyncClient, Client
from client.errors import Broken, DamagedDownload, JobUnsuccessful, Missing, Unreachable
from jobs.schemas import JobView

from .conftest import JOB_ID, PICTURE, event, view

pytestmark = pytest.mark.usefixtures("no_sleep")


class Driver:
    """Calls a client's methods; those of the async client on a loop of its own."""

    def __init__(self, kind, service):
        transport = httpx.MockTransport(service)
        self.client = kind("http://api.test", transport=transport)

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*args, **kwargs):
            result = method(*args, **kwargs)
            if inspect.isasyncgen(result):
                return asyncio.run(collect(result))
            return asyncio.run(result) if inspect.iscoroutine(result) else result

        return call


async def collect(events):
    return [event async for event in events]


@pytest.fixture(params=[Client, AsyncClient])
def client(request, service):
    return Driver(request.param, service)


def stream(*events):
    return httpx.Response(200, content=b"".join(events), headers={"content-type": "text/event-stream"})


def test_outputs_are_written_and_checked(client, service, tmp_path):
    service.replies = [httpx.Response(200, content=PICTURE)]

    [path] = client.download(JobView.model_validate(view()), tmp_path)

    assert path.read_bytes() == PICTURE
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_download_leaves_no_file(client, service, tmp_path):
    service.replies = [httpx.Response(200, content=PICTURE[:-1])]

    with pytest.raises(DamagedDownload):
        client.download(JobView.model_validate(view()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_expired_link_is_asked_for_again(client, service, tmp_path):
    service.replies = [
        httpx.Response(403),
        httpx.Response(200, json=view()),
        httpx.Response(200, content=PICTURE),
    ]

    [path] = client.download(JobView.model_validate(view()), tmp_path)

    assert path.read_bytes() == PICTURE


def test_a_stream_that_breaks_goes_on_after_the_last_event(client, service):
    queued, running = (
        view(status="queued", terminal=False, seq=1),
        view(status="running", terminal=False, seq=2),
    )
    service.replies = [
        stream(event("status", queued, 1), event("status", running, 2), event("progress", {"value": 0.5})),
        httpx.ConnectError("refused"),
        stream(b": keep-alive\n\n", event("end", view(), 4)),
    ]

    events = list(client.stream(JOB_ID))

    assert [e.type for e in events] == ["status", "status", "progress", "end"]
    assert events[-1].job().outputs[0].name == "0.png"
    assert [r.headers.get("last-event-id") for r in service.requests] == [None, "2", "2"]


def test_a_stream_of_an_unknown_job_is_an_error(client, service):
    body = {"type": "t", "title": "T", "status": 404, "detail": "d", "code": "not_found", "request_id": "r"}
    service.replies = [httpx.Response(404, json=body)]

    with pytest.raises(Missing, match="not_found"):
        list(client.stream(JOB_ID))


def test_a_stream_that_never_comes_back_is_given_up(client, service):
    service.replies = [httpx.ConnectError("refused")] * 6

    with pytest.raises(Unreachable):
        list(client.stream(JOB_ID))


def test_waiting_raises_for_a_job_that_failed_unless_told_not_to(client, service):
    failed = view(status="failed", error={"code": "diverged", "detail": "loss is NaN at step 3"})
    service.replies = [httpx.Response(200, json=failed)] * 2

    with pytest.raises(JobUnsuccessful) as caught:
        client.wait(JOB_ID)
    assert caught.value.code == "diverged"
    assert client.wait(JOB_ID, check=False).status == "failed"


def test_a_page_of_a_proxy_is_an_error_with_a_code(client, service):
    service.replies = [httpx.Response(500, text="<h1>oops</h1>")]

    with pytest.raises(Broken) as caught:
        client.get(JOB_ID)
    assert caught.value.code == "unexpected_answer"


def test_a_checkpoint_is_uploaded_as_a_form(client, service, tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    service.replies = [httpx.Response(202, json=view(kind="import", status="queued", terminal=False))]

    client.import_model(tmp_path / "a.pkl", name="mine", licence="CC0")

    body = service.requests[0].content
    assert b"\x80\x04N." in body and b'name="licence"' in body and b"CC0" in body


def test_pictures_go_up_with_their_media_type(client, service, tmp_path):
    (tmp_path / "a.webp").write_bytes(b"RIFF")
    answer = {
        "id": "img_1", "width": 1, "height": 1, "media_type": "image/png", "size_bytes": 1, "sha256": "",
        "created_at": "", "url": "",
    }  # fmt: skip
    service.replies = [httpx.Response(201, json=answer)]

    assert client.upload_image(tmp_path / "a.webp").id == "img_1"
    assert service.requests[0].headers["content-type"] == "image/webp"
    with pytest.raises(ValueError, match="PNG, JPEG or WebP"):
        client.upload_image(tmp_path / "a.txt")


def test_both_clients_offer_the_same():
    def offers(kind):
        methods = {n: m for n, m in vars(kind).items() if callable(m) and not n.startswith("_")}
        return {name: str(inspect.signature(m)).split(" -> ")[0] for name, m in methods.items()}

    assert offers(Client) == offers(AsyncClient)
