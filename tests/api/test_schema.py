"""Requests drawn from the OpenAPI document, right and wrong ones, for every operation: none meets a 5xx.

schemathesis draws them. Half of them name things that exist, so that they come past the first check.
`SCHEMA_EXAMPLES=500 pytest tests/api/test_schema.py` draws more.
"""

import json
import os
from pathlib import Path

import pytest
import requests
import schemathesis
from httpx2 import InvalidURL
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from .conftest import BASE, png, submit

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "6"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
# A key is not asked for here, and nobody works: an answer that waits for a worker would come in a minute.
LEFT_OUT = ("authorization", "prefer", "connection", "content-length", "transfer-encoding")


@schemathesis.serializer("application/jsonl")
def lines(_, value):
    """The document knows them as bytes."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def operations():
    """All of the document (a test compares it with the application)."""
    schema = schemathesis.openapi.from_dict(json.loads(DOCUMENT.read_text()))
    return [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]


@pytest.fixture
def real(client, worker):
    """Names of things that exist, by the names that the document gives them."""
    job_id = submit(client, model="faces")["id"]
    worker.succeed(job_id, {"image_0000.png": png()})
    upload = client.post("/v1/images", content=png(64, 64), headers={"Content-Type": "image/png"}).json()
    return {"job_id": job_id, "image_id": upload["id"], "name": "faces", "code": "not_found"}


def send(client, case):
    """The answer; a request that no HTTP client can write is no example."""
    parts = case.as_transport_kwargs(base_url=BASE)
    parts["headers"] = {k: v for k, v in parts["headers"].items() if k.lower() not in LEFT_OUT}
    try:
        written = requests.Request(**parts).prepare()
        headers = {k: v for k, v in written.headers.items() if k.lower() not in LEFT_OUT}
        return client.request(written.method, BASE + written.path_url, content=written.body, headers=headers)
    except (InvalidURL, UnicodeError, requests.RequestException, ValueError):
        assume(False)


def point_at(case, real):
    """Have the request name what exists."""
    for name in case.path_parameters or {}:
        case.path_parameters[name] = real.get(name, case.path_parameters[name])
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = real["name"]


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("operation", operations(), ids=lambda found: f"{found.method} {found.path}")
def test_no_request_meets_a_5xx(operation, mode, client, real):
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=EXAMPLES <= 10,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    def draw(case, exists):
        if exists:
            point_at(case, real)
        reply = send(client, case)
        assert reply.status_code < 500, (case.as_curl_command(), reply.text[:500])
        if reply.status_code >= 400 and reply.request.method != "HEAD":
            assert reply.headers["content-type"] == "application/problem+json", case.as_curl_command()
            assert {"code", "status", "request_id"} <= set(reply.json())

    try:
        draw()
    except Unsatisfiable:
        pytest.skip("nothing about it can be wrong")
