"""A rolling upgrade: a gateway shows, lists, cancels and deletes jobs that a newer one accepted."""

import pytest
from sqlalchemy import update

from jobs.schemas import PAYLOAD_VERSION
from jobs.store.tables import jobs

from .conftest import submit

NEWER = {
    "payload_version": PAYLOAD_VERSION + 1,
    "kind": "dream",
    "request": '{"kind": "dream", "model": "faces", "input": {"depth": 3}, "output": {"format": "holo"}}',
}


@pytest.fixture
def newer(client, store):
    """The id of a job of a kind that this gateway does not know."""
    job_id = submit(client)["id"]
    with store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(**NEWER))
    return job_id


def test_it_is_shown_as_it_is(client, newer):
    reply = client.get(f"/v1/jobs/{newer}")
    assert (reply.status_code, reply.json()["kind"]) == (200, "dream")
    assert reply.json()["input"] == {"depth": 3}


def test_it_is_listed_with_the_others(client, newer):
    other = submit(client)["id"]
    assert {job["id"] for job in client.get("/v1/jobs").json()["data"]} == {newer, other}


def test_it_can_be_followed_canceled_and_deleted(client, newer):
    assert client.post(f"/v1/jobs/{newer}/cancel").json()["status"] == "canceled"
    assert '"kind":"dream"' in client.get(f"/v1/jobs/{newer}/events").text.replace('": "', '":"')
    assert client.delete(f"/v1/jobs/{newer}").status_code == 204


def test_it_cannot_be_retried_here_and_stays_as_it_is(client, newer):
    """Its quota could not be counted: a gateway that knows it will do so."""
    canceled = client.post(f"/v1/jobs/{newer}/cancel").json()
    assert client.post(f"/v1/jobs/{newer}/retry").status_code == 422
    assert client.get(f"/v1/jobs/{newer}").json() == canceled
