"""What the client does beyond one request, driven without sockets."""

import random

import httpx2 as httpx
import pytest

from client import calls, flows
from client.errors import Busy, DamagedDownload, StateConflict, Unreachable
from client.flows import Pause

from .conftest import view

JOB = view(seq=3)


def problem(status: int, code: str = "x", **headers: str) -> httpx.Response:
    body = {"type": "t", "title": "T", "status": status, "detail": "d", "code": code, "request_id": "r"}
    return httpx.Response(status, json=body, headers=headers)


def drive(flow, outcomes):
    """Run a flow on prepared outcomes; the result and the pauses that it asked for."""
    pauses = []
    outcomes = iter(outcomes)
    try:
        step = next(flow)
        while True:
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                step = flow.send(None)
                continue
            outcome = next(outcomes)
            step = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
    except StopIteration as end:
        return end.value, pauses


def test_a_busy_service_is_asked_again_after_the_time_that_it_names():
    answers = [problem(429, **{"Retry-After": "7"}), problem(503), httpx.Response(200, json=JOB)]

    job, pauses = drive(flows.sent(calls.get_job(JOB["id"])), answers)

    assert job.seq == 3
    assert 7 <= pauses[0] <= 7 * 1.25
    assert 0.25 <= pauses[1] <= 0.75


def test_a_service_that_stays_busy_is_given_up():
    with pytest.raises(Busy) as caught:
        drive(flows.sent(calls.get_job(JOB["id"])), [problem(429, "queue_full")] * flows.TRIES)
    assert caught.value.code == "queue_full"


def test_a_refusal_is_not_repeated():
    with pytest.raises(StateConflict, match="already_finished"):
        drive(flows.sent(calls.cancel(JOB["id"])), [problem(409, "already_finished")])


def test_after_a_broken_connection_only_harmless_calls_are_repeated():
    answers = [Unreachable("reset"), httpx.Response(202, json=JOB)]
    submitted = calls.submit({"kind": "generate", "model": "m"}, key="k")

    assert drive(flows.sent(submitted), answers)[0].id == JOB["id"]
    with pytest.raises(Unreachable):
        drive(flows.sent(calls.retry(JOB["id"])), answers)


def test_a_submit_sends_only_what_was_set_and_always_a_key():
    call = calls.submit({"kind": "generate", "model": "m", "input": {"psi": 0.5}}, key="k", wait_s=5)

    assert call.content == b'{"model":"m","kind":"generate","input":{"psi":0.5}}'
    assert call.headers["Idempotency-Key"] == "k"
    assert call.headers["Prefer"] == "wait=5"


def test_waiting_asks_for_what_is_newer_than_what_it_has():
    running = {**JOB, "status": "running", "terminal": False, "seq": 1}
    asked = []
    flow = flows.finished(JOB["id"], timeout_s=None, changed=lambda job: asked.append(job.status))
    first = next(flow)
    second = flow.send(httpx.Response(200, json=running))

    assert first.params == {}
    assert second.params == {"wait": "30", "after_seq": "1"}
    assert drive_rest(flow, httpx.Response(200, json=JOB)).status == "succeeded"
    assert asked == ["running"]


def drive_rest(flow, outcome):
    with pytest.raises(StopIteration) as end:
        flow.send(outcome)
    return end.value.value


def test_waiting_does_not_spin_on_a_service_that_answers_at_once():
    running = {**JOB, "status": "running", "terminal": False, "seq": 1}
    answers = [httpx.Response(200, json=j) for j in (running, running, running, JOB)]

    job, pauses = drive(flows.finished(JOB["id"], timeout_s=None, changed=None), answers)

    assert job.terminal
    assert len(pauses) == 2


def test_pages_are_followed_until_there_are_enough():
    first = httpx.Response(200, json={"data": [JOB, JOB], "next_cursor": "c"})
    second = httpx.Response(200, json={"data": [JOB], "next_cursor": None})

    assert len(drive(flows.pages({}, limit=None), [first, second])[0]) == 3
    assert len(drive(flows.pages({}, limit=2), [first])[0]) == 2


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a\0b", "C:\\x"])
def test_an_output_whose_name_leads_elsewhere_is_not_written(name):
    with pytest.raises(DamagedDownload):
        flows.safe_name(name)


def test_back_off_grows_and_spreads():
    pauses = [flows.back_off(n, Unreachable(), jitter=random.Random(n).random) for n in range(8)]

    assert all(0.125 * 2**n <= p <= 12 for n, p in enumerate(pauses[:6]))
    assert len(set(pauses)) == len(pauses)
