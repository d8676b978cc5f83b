"""What is promised when something dies: each accepted job ends, and ends once."""

import json
import signal
import time

import httpx2 as httpx
import pytest
import redis

from client.errors import ClientError
from jobs.schemas import Status

from .conftest import MODEL, finished, inversion
from .stack import eventually

STEPS = 1000  # some seconds of work


@pytest.fixture
def image(client, picture):
    return client.upload_image(picture).id


def running_past(client, job_id, step):
    def check():
        progress = client.get(job_id).progress
        return progress.step is not None and progress.step >= step

    assert eventually(check, 60), client.get(job_id)


def transitions(stack, job_id):
    """The durable history of a job: its status at each change."""
    url = f"{stack.url}/v1/jobs/{job_id}/events"
    with httpx.Client() as http, http.sse(url, params={"after_seq": 0}) as source:
        return [json.loads(event.data)["status"] for event in source if event.event == "status"]


def ended_once(stack, job_id):
    return [Status(status).terminal for status in transitions(stack, job_id)].count(True) == 1


def test_an_inversion_whose_worker_is_killed_goes_on_elsewhere_and_equals_an_undisturbed_one(
    stack, client, image
):
    undisturbed = finished(client, client.submit(inversion(image, steps=STEPS, seed=9)))
    job = client.submit(inversion(image, steps=STEPS, seed=9))
    running_past(client, job.id, 100)
    [first] = stack.workers()
    second = stack.add_worker()

    stack.kill(first)
    ended = client.wait(job.id, timeout_s=90)

    assert ended.attempts == 1  # the loss is not the job's fault
    assert ended_once(stack, job.id)
    assert f"job {job.id} goes on from" in stack.log_path(second).read_text()
    pictures = [{o.name: o.sha256 for o in j.outputs if o.role != "plot"} for j in (undisturbed, ended)]
    assert pictures[0] == pictures[1]


def test_jobs_accepted_before_redis_loses_everything_all_end_once(stack, client, image):
    [worker] = stack.workers()
    long = client.submit(inversion(image, steps=STEPS))
    running_past(client, long.id, 1)
    stack.send_signal(worker, signal.SIGSTOP)
    jobs = [long] + [client.submit(generation(seed)) for seed in range(8)]

    stack.redis.kill()
    stack.redis.start()  # it kept nothing
    stack.send_signal(worker, signal.SIGCONT)

    jobs += [client.submit(generation(seed)) for seed in range(8, 10)]
    assert [finished(client, job).status for job in jobs] == ["succeeded"] * len(jobs)
    assert all(ended_once(stack, job.id) for job in jobs)


def test_jobs_are_accepted_while_redis_is_down(stack, client):
    stack.redis.kill()

    job = client.submit(generation(1))
    assert job.status == "queued"

    stack.redis.start()
    assert finished(client, job).status == "succeeded"


def test_a_frozen_worker_that_wakes_publishes_nothing(stack, client, image):
    job = client.submit(inversion(image, steps=STEPS))
    running_past(client, job.id, 1)
    [frozen] = stack.workers()
    stack.send_signal(frozen, signal.SIGSTOP)
    stack.add_worker()
    ended = client.wait(job.id, timeout_s=90)

    stack.send_signal(frozen, signal.SIGCONT)
    assert eventually(lambda: "lost" in stack.log_path(frozen).read_text().lower())
    time.sleep(1)  # whatever it still does, it does now

    assert client.get(job.id).model_dump(exclude={"outputs"}) == ended.model_dump(exclude={"outputs"})
    assert [o.sha256 for o in client.get(job.id).outputs] == [o.sha256 for o in ended.outputs]
    assert ended_once(stack, job.id)


def test_a_worker_that_is_told_to_stop_gives_its_job_back_uncharged(stack, client, image):
    job = client.submit(inversion(image, steps=STEPS))
    running_past(client, job.id, 1)
    [worker] = stack.workers()

    assert stack.terminate(worker) == 0
    given_back = client.get(job.id)
    assert given_back.status == "queued"
    assert given_back.attempts == 0

    stack.add_worker()
    ended = finished(client, job)
    assert ended.attempts == 1


def test_a_reset_connection_to_redis_does_not_run_a_job_twice(stack, client, image):
    job = client.submit(inversion(image, steps=STEPS))
    running_past(client, job.id, 1)

    with redis.Redis.from_url(stack.redis.redis_url) as connection:
        connection.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        connection.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    ended = finished(client, job)
    assert ended.attempts == 1
    assert ended_once(stack, job.id)


def test_a_gateway_that_is_restarted_loses_nothing_and_the_client_follows_through_it(stack, client, image):
    job = client.submit(inversion(image, steps=STEPS))
    events, restarted = [], False
    try:
        for event in client.stream(job.id):
            events.append(event)
            if event.type == "progress" and not restarted:
                restarted = True
                stack.restart_gateway()
    except ClientError as error:
        pytest.fail(f"the stream was not resumed: {error}")

    assert events[-1].type == "end"
    assert events[-1].job().status == "succeeded"


def generation(seed):
    return {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [seed]}}}
