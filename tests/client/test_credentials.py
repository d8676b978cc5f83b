"""To whom the client shows its key, and what it makes of a refusal."""

import asyncio
from pathlib import Path

import httpx2 as httpx
import pytest
from typer.testing import CliRunner

from client import AsyncClient, Client
from client.cli import app
from client.errors import Busy, Denied
from jobs.schemas import JobView

from .conftest import PICTURE, Service, view

KEY = "sgk_test_abc_secret"
USAGE = {
    "tenant": "acme",
    "resets_at": "2026-01-02T00:00:00Z",
    "jobs": {"used": 3, "limit": 10},
    "jobs_ended_today": 7,
    "images_today": {"used": 16, "limit": None},
    "images_per_job": 64,
    "device_s_today": {"used": 1.5, "limit": 60},
    "stored_bytes": {"used": 1234567, "limit": None},
    "requests_per_minute": None,
}


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": "x", "title": "x", "status": status, "detail": "because", "code": code, "request_id": "r"}
    return httpx.Response(status, json=body, headers=headers)


def shown(service: Service) -> list[str | None]:
    return [request.headers.get("authorization") for request in service.requests]


def test_the_key_goes_to_the_service_and_not_to_where_its_links_lead(
    service: Service, tmp_path: Path
) -> None:
    service.replies = [httpx.Response(200, json=view()), httpx.Response(200, content=PICTURE)]
    with Client("http://service.test", api_key=KEY, transport=httpx.MockTransport(service)) as client:
        client.download(client.get("job_1"), tmp_path)
    assert [request.url.host for request in service.requests] == ["service.test", "blobs.test"]
    assert shown(service) == [f"Bearer {KEY}", None]


@pytest.mark.parametrize("url", ["https://service.test", "http://service.test:81", "http://sub.service.test"])
def test_another_scheme_port_or_host_is_another_service(service: Service, url: str, tmp_path: Path) -> None:
    output = view()["outputs"][0] | {"url": f"{url}/0.png"}  # type: ignore[index]
    service.replies = [httpx.Response(200, content=PICTURE)]
    with Client("http://service.test", api_key=KEY, transport=httpx.MockTransport(service)) as client:
        client.download(JobView.model_validate(view(outputs=[output])), tmp_path)
    assert shown(service) == [None]


def test_the_environments_key_is_taken_unless_another_is_given(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSERVE_API_KEY", KEY)
    service.replies = [httpx.Response(200, json=view()) for _ in range(3)]
    transport = httpx.MockTransport(service)
    for given in (None, "other", ""):
        with Client("http://service.test", api_key=given, transport=transport) as client:
            client.get("job_1")
    assert shown(service) == [f"Bearer {KEY}", "Bearer other", None]


def test_the_async_client_shows_it_as_well(service: Service) -> None:
    service.replies = [httpx.Response(200, json=USAGE)]

    async def ask() -> str:
        async with AsyncClient(
            "http://service.test", api_key=KEY, transport=httpx.MockTransport(service)
        ) as client:
            return (await client.usage()).tenant

    assert asyncio.run(ask()) == "acme"
    assert shown(service) == [f"Bearer {KEY}"]


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_key"), (403, "insufficient_scope")])
def test_a_refused_key_is_an_error_of_its_own(service: Service, status: int, code: str) -> None:
    service.replies = [problem(status, code)]
    with (
        Client("http://service.test", transport=httpx.MockTransport(service)) as client,
        pytest.raises(Denied) as refused,
    ):
        client.usage()
    assert refused.value.code == code


@pytest.mark.usefixtures("no_sleep")
def test_a_short_wait_is_waited_and_a_long_one_is_an_answer(service: Service) -> None:
    service.replies = [
        problem(429, "rate_limited", **{"Retry-After": "7"}),
        httpx.Response(200, json=USAGE),
        problem(429, "quota", **{"Retry-After": "40000"}),
    ]
    with Client("http://service.test", transport=httpx.MockTransport(service)) as client:
        assert client.usage().images_per_job == 64
        with pytest.raises(Busy):
            client.usage()
    assert len(service.requests) == 3


def test_usage_on_the_command_line(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.replies = [httpx.Response(200, json=USAGE)]

    def client(url: str) -> Client:
        return Client(url, transport=httpx.MockTransport(service))

    monkeypatch.setattr("client.commands.options.Client", client)
    monkeypatch.setenv("GANSERVE_API_KEY", "")
    result = CliRunner().invoke(app, ["--api-key", KEY, "usage"])
    assert result.exit_code == 0, result.output
    assert "1,234,567" in result.stdout and "acme" in result.stdout
    assert shown(service) == [f"Bearer {KEY}"]
