"""Webhooks on the running service: a receiver on this machine that fails, a dispatcher that dies."""

import hashlib
import json
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from standardwebhooks import Webhook

from client import verify_webhook, webhooks
from client.errors import Refused

from .conftest import MODEL, finished
from .receiver import Receiver, receiving
from .stack import eventually


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def dispatcher(stack):
    """Runs while the test does."""
    if "dispatcher" not in stack.processes:
        stack.start_dispatcher()
    yield stack
    if "dispatcher" in stack.processes:
        assert stack.terminate("dispatcher") == 0


def generation(seed, **envelope):
    return {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [seed]}}} | envelope


def test_a_job_tells_its_receiver_and_the_public_library_verifies_it(client, dispatcher, receiver):
    events = ["started", "output", "finished"]
    job = client.submit(generation(1, webhook={"url": receiver.url, "events": events}))
    done = finished(client, job)

    assert eventually(lambda: len(receiver.got) == 3)

    secret = client.send(webhooks.secret("jobs")).secret
    bodies = {body["type"]: body for body in (Webhook(secret).verify(b, h) for h, b in receiver.got)}
    assert set(bodies) == {"job.started", "job.output", "job.finished"}
    told = bodies["job.finished"]["data"]
    assert (told["id"], told["status"], told["seq"]) == (done.id, "succeeded", done.seq)
    # The link in it works, and gives the picture that the job states.
    picture = httpx.get(told["outputs"][0]["url"]).content
    assert hashlib.sha256(picture).hexdigest() == done.outputs[0].sha256
    assert all(verify_webhook(headers, body, secret) for headers, body in receiver.got)


def test_a_dispatcher_that_is_killed_loses_nothing(client, dispatcher, receiver):
    made = client.send(webhooks.add(receiver.url))
    dispatcher.kill("dispatcher")
    jobs = [finished(client, client.submit(generation(seed))) for seed in (2, 3)]
    assert receiver.got == []

    dispatcher.start_dispatcher()

    assert eventually(lambda: len(receiver.got) == 2)
    assert {json.loads(body)["data"]["id"] for _, body in receiver.got} == {job.id for job in jobs}
    assert eventually(
        lambda: {d.status for d in client.send(webhooks.deliveries(made.id)).data} == {"succeeded"}
    )
    client.send(webhooks.remove(made.id))


def test_a_receiver_that_fails_is_tried_again_and_one_that_is_gone_is_disabled(client, dispatcher, receiver):
    made = client.send(webhooks.add(receiver.url))
    receiver.statuses = [503]
    sent = client.send(webhooks.test(made.id))

    assert eventually(lambda: client.send(webhooks.delivery(sent.id)).status == "succeeded", 20)
    assert [a.status for a in client.send(webhooks.delivery(sent.id)).attempts] == [503, 204]
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1

    receiver.statuses = [410]
    client.send(webhooks.test(made.id))
    assert eventually(lambda: not client.send(webhooks.get(made.id)).enabled)
    client.send(webhooks.remove(made.id))


def test_the_service_does_not_tell_itself(client, stack):
    with pytest.raises(Refused) as refused:
        client.submit(generation(4, webhook={"url": f"{stack.url}/v1/jobs"}))

    assert refused.value.code == "forbidden_address"
