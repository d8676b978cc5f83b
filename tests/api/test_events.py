import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from sqlalchemy import delete
from starlette.testclient import TestClient

from jobs.errors import StoreUnavailable
from jobs.live import MemoryLive
from jobs.schemas import JobView, Progress
from jobs.store import JobStore
from jobs.store.tables import jobs

from .conftest import BASE, Worker, meanwhile, png, submit
from .test_bad_input import assert_problem

Events = list[tuple[str, str | None, dict[str, Any]]]


def parsed(reply: Response) -> Events:
    """(event, id, data) of each message, by the rules of the HTML standard."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    events: Events = []
    for block in reply.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            events.append((fields["event"], fields.get("id"), json.loads(fields["data"])))
    return events


def statuses(events: Events) -> list[tuple[str | None, str]]:
    return [(id, data["status"]) for event, id, data in events if event == "status"]


def test_a_finished_job_tells_its_whole_story_and_ends(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    worker.succeed(job_id, {"a.png": png(), "b.png": png()})
    events = parsed(client.get(f"/v1/jobs/{job_id}/events"))

    assert [event for event, _, _ in events] == ["status"] * 3 + ["output"] * 2 + ["end"]
    assert statuses(events) == [("1", "queued"), ("2", "running"), ("3", "succeeded")]
    assert [data["terminal"] for event, _, data in events if event == "status"] == [False, False, True]
    assert "outputs" not in events[0][2]
    _, last_id, end = events[-1]
    assert last_id == "3"
    assert JobView.model_validate(end).outputs[1].name == "b.png"


def test_every_status_event_is_a_job_without_outputs(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    worker.fail(job_id)
    for event, _, data in parsed(client.get(f"/v1/jobs/{job_id}/events")):
        if event == "status":
            JobView.model_validate(data | {"outputs": []})


@pytest.mark.parametrize(("seen", "missed"), [(0, 3), (1, 2), (2, 1), (3, 0)])
def test_last_event_id_resumes_without_a_gap(
    client: TestClient, worker: Worker, seen: int, missed: int
) -> None:
    job_id = submit(client)["id"]
    worker.succeed(job_id)
    url = f"/v1/jobs/{job_id}/events"
    by_header = parsed(client.get(url, headers={"Last-Event-ID": str(seen)}))
    by_query = parsed(client.get(f"{url}?after_seq={seen}"))
    assert by_header == by_query
    assert [event for event, _, _ in by_header] == ["status"] * missed + ["end"]


def test_the_header_wins_over_the_query(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    worker.succeed(job_id)
    reply = client.get(f"/v1/jobs/{job_id}/events?after_seq=0", headers={"Last-Event-ID": "2"})
    assert statuses(parsed(reply)) == [("3", "succeeded")]


def test_an_id_from_the_future_is_refused(client: TestClient) -> None:
    job_id = submit(client)["id"]
    assert_problem(client.get(f"/v1/jobs/{job_id}/events?after_seq=99"), 422, "invalid_request")


def test_a_running_job_is_followed_to_its_end(
    client: TestClient, worker: Worker, live: MemoryLive, store: JobStore
) -> None:
    job_id = submit(client)["id"]

    def work() -> None:
        claim = worker.claim(job_id)
        live.publish(job_id, {"type": "state", "status": "running"})
        store.heartbeat(claim, Progress(value=0.5, step=1, steps=2))
        live.publish(job_id, {"type": "progress", "progress": {"value": 0.5, "step": 1, "steps": 2}})
        live.publish(job_id, {"type": "preview", "index": 0, "media_type": "image/jpeg", "data": "/9j/"})
        threading.Event().wait(1.0)
        worker.succeed(job_id, {"a.png": png()}, claim)
        live.publish(job_id, {"type": "state", "status": "succeeded"})

    with meanwhile(client, work):
        events = parsed(client.get(f"/v1/jobs/{job_id}/events"))

    names = [event for event, _, _ in events]
    assert [name for name in names if name not in ("progress", "preview")] == ["status"] * 3 + [
        "output",
        "end",
    ]
    assert ("progress", None, {"value": 0.5, "step": 1, "steps": 2}) in events
    assert ("preview", None, {"index": 0, "media_type": "image/jpeg", "data": "/9j/"}) in events
    ids = [int(id) for event, id, _ in events if event == "status" and id]
    assert ids == sorted(set(ids))


def test_without_live_events_the_database_tells_it_all(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    with meanwhile(client, lambda: worker.succeed(job_id)):
        events = parsed(client.get(f"/v1/jobs/{job_id}/events"))
    assert [status for _, status in statuses(events)] == ["queued", "running", "succeeded"]


def test_a_database_that_is_away_for_a_while_does_not_end_the_stream(
    client: TestClient, worker: Worker, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(client)["id"]
    failures = iter([True, True, False])
    real = store.events

    def sometimes(*arguments: Any) -> Any:
        if next(failures, False):
            raise StoreUnavailable
        return real(*arguments)

    worker.succeed(job_id)
    monkeypatch.setattr(store, "events", sometimes)
    monkeypatch.setattr("api.watch.POLL_S", 0.01)
    assert len(statuses(parsed(client.get(f"/v1/jobs/{job_id}/events")))) == 3


def test_a_job_deleted_meanwhile_ends_the_stream(
    client: TestClient, worker: Worker, store: JobStore, live: MemoryLive
) -> None:
    job_id = submit(client)["id"]

    def work() -> None:
        threading.Event().wait(1.0)  # the stream has said what there was to say
        with store.database.write() as connection:  # in one step, that the stream sees no end before
            connection.execute(delete(jobs).where(jobs.c.id == job_id))
        live.publish(job_id, {"type": "state"})

    with meanwhile(client, work):
        events = parsed(client.get(f"/v1/jobs/{job_id}/events"))
    assert "end" not in [event for event, _, _ in events]


def test_silence_is_filled_with_comments(
    client: TestClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    job_id = submit(client)["id"]

    def work() -> None:
        threading.Event().wait(0.4)
        worker.succeed(job_id)

    with meanwhile(client, work):
        reply = client.get(f"/v1/jobs/{job_id}/events")
    assert ": ping\n\n" in reply.text
    assert parsed(reply)[-1][0] == "end"


def test_streams_are_bounded_and_given_back(make_app: Callable[..., FastAPI], worker: Worker) -> None:
    app = make_app(max_streams=1)
    with TestClient(app, base_url=BASE) as client:
        job_id = submit(client)["id"]
        worker.succeed(job_id)
        url = f"/v1/jobs/{job_id}/events"
        with app.state.streams.slot("default"):
            reply = client.get(url)
            assert_problem(reply, 429, "too_many_streams")
            assert int(reply.headers["retry-after"]) > 0
        for _ in range(3):
            assert client.get(url).status_code == 200
        assert app.state.streams.open == 0


class Stubborn(MemoryLive):
    """Loses the first cancellation, as redis-py does while it connects."""

    async def subscribe(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        async for event in super().subscribe(job_id):
            yield event


def test_a_lost_cancellation_does_not_hang_the_answer(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    app.state.live = Stubborn()
    with TestClient(app, base_url=BASE) as client:
        job_id = submit(client)["id"]
        assert client.get(f"/v1/jobs/{job_id}?wait=1").json()["status"] == "queued"


def test_a_slow_reader_gets_the_latest_of_each_sort(client: TestClient) -> None:
    from api.watch import Mailbox

    async def read() -> list[dict[str, Any]]:
        box = Mailbox()
        for step in range(5):
            box.put({"type": "progress", "progress": {"step": step}})
            box.put({"type": "preview", "index": step % 2, "data": str(step)})
        return await box.take(0)

    events = client.portal.call(read) if client.portal else []
    assert events == [
        {"type": "progress", "progress": {"step": 4}},
        {"type": "preview", "index": 0, "data": "4"},
        {"type": "preview", "index": 1, "data": "3"},
    ]
