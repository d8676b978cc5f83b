"""From a state change to a receiver: real database, sockets and TLS, receivers that answer as told."""

import asyncio
import contextlib
import json
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from jobs.blobs.memory import MemoryBlobStore
from jobs.errors import StoreUnavailable
from jobs.schemas import JobError, Status
from jobs.settings import Settings
from jobs.store.database import now as database_now
from jobs.store.deliveries import LEASE_S
from jobs.store.tables import deliveries, webhooks
from jobs.views import Views
from jobs.webhooks import dispatcher as dispatching
from jobs.webhooks.delivery import Courier
from jobs.webhooks.dispatcher import Dispatcher
from jobs.webhooks.schedule import MAX_TRIES
from jobs.webhooks.signing import Signer
from tests.jobs.given import TENANT, ask, claim, picture, submit

from .receivers import HOST, PUBLIC, URL, Authority, Net, Receiver, silence, status

SIGNER = Signer(b"master")


@pytest.fixture(scope="module")
def authority():
    return Authority()


class Post:
    """One dispatcher and one receiver, for as long as a test lets them run."""

    def __init__(self, store, authority):
        self.store, self.authority, self.net = store, authority, Net()
        self.blobs = MemoryBlobStore()
        self.views = Views(self.blobs, Settings(url_secret="u" * 32))

    def tick(self, *answers, times=1, **options):
        """Let the dispatcher look for work `times` times and finish it; what the receiver got."""
        return asyncio.run(self._tick(Receiver(answers or (status(204),)), times, options))

    async def _tick(self, receiver, times, options):
        async with receiver.serving(self.authority.server(HOST)):
            self.net.ports[PUBLIC] = receiver.port
            with self.dispatcher(**options) as dispatcher:
                for _ in range(times):
                    await dispatcher.tick()
                    await dispatcher.drain()
        return receiver

    @contextlib.contextmanager
    def dispatcher(self, total_s=10.0, **options):
        with ThreadPoolExecutor(4) as threads:
            courier = Courier(
                self.net.rules(),
                threads,
                tls=self.authority.client(),
                connect=self.net.connect,
                total_s=total_s,
            )
            yield Dispatcher(self.store, self.views, SIGNER, courier, **options)

    def add(self, *events):
        return self.store.webhooks.add(TENANT, url=URL, events=events or ("finished",), description="")

    def log(self, webhook_id):
        return self.store.webhooks.deliveries(TENANT, webhook_id)

    def later(self, seconds, table=deliveries, column="next_at"):
        with self.store.database.write() as connection:
            connection.execute(update(table).values({column: table.c[column] - seconds}))


@pytest.fixture
def post(store, authority):
    return Post(store, authority)


def finish(store, row, status=Status.SUCCEEDED, **given):
    assert store.finish(claim(store, row), status, **given)


def test_a_finished_job_arrives_signed_with_a_fresh_link_to_each_output(post, store):
    endpoint = post.add()
    held = claim(store, submit(store, metadata={"customer": "42"}))
    output = picture(held)
    post.blobs.write(output.key, b"picture", media_type="image/png")
    store.finish(held, Status.SUCCEEDED, outputs=[output], result={"n": 1})

    [request] = post.tick().requests

    body = Webhook(SIGNER.secret(endpoint.salt)).verify(request.body, request.headers)
    assert set(body) == {"type", "timestamp", "data"} and body["type"] == "job.finished"
    shown = post.views.job(store.get(TENANT, held.job_id)).model_dump(mode="json")
    links = [(one.pop("url"), one.pop("url_expires_at")) for one in body["data"]["outputs"]]
    for one in shown["outputs"]:
        del one["url"], one["url_expires_at"]
    assert body["data"] == shown  # as the API shows it
    assert links[0][0] and body["data"]["metadata"] == {"customer": "42"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("ganserve-webhooks")
    [done] = post.log(endpoint.id)
    assert (done.status, done.event_id, done.attempts[0].status) == (
        "succeeded",
        request.headers["webhook-id"],
        204,
    )


def test_started_and_output_say_what_was_so_then(post, store):
    post.add("started", "output")
    held = claim(store, submit(store))
    output = picture(held)
    post.blobs.write(output.key, b"picture", media_type="image/png")
    store.finish(held, Status.SUCCEEDED, outputs=[output])

    bodies = {body["type"]: body["data"] for body in map(json.loads, (r.body for r in post.tick().requests))}

    started = bodies["job.started"]
    assert (started["status"], started["outputs"], started["finished_at"]) == ("running", [], None)
    assert bodies["job.output"]["job"] == held.job_id
    assert bodies["job.output"]["output"]["name"] == output.name and bodies["job.output"]["output"]["url"]


def test_an_event_that_comes_after_a_retry_still_says_what_was_so_then(post, store):
    post.add()
    row = submit(store)
    finish(store, row, Status.FAILED, error=JobError(code="diverged", detail="NaN"))
    store.retry(TENANT, row.id)

    [request] = post.tick().requests

    told = json.loads(request.body)["data"]
    assert (told["status"], told["error"]["code"], told["seq"]) == ("failed", "diverged", 3)
    assert told["finished_at"] is not None


def test_a_receiver_that_is_down_three_times_gets_the_same_event_at_the_fourth(post, store):
    endpoint = post.add()
    finish(store, submit(store))

    ids = []
    for answer in (status(503), status(500), status(404), status(200)):
        ids += [request.headers["webhook-id"] for request in post.tick(answer).requests]
        post.later(10_000)

    [done] = post.log(endpoint.id)
    assert len(ids) == 4 and set(ids) == {done.event_id}
    assert [a.status for a in done.attempts] == [503, 500, 404, 200]
    assert [a.error for a in done.attempts] == ["status", "status", "status", None]


def test_over_three_days_the_attempts_keep_their_distance_and_then_it_is_a_dead_letter(post, store):
    """The clock of the database cannot be moved, so the rows are."""
    endpoint = post.add()
    finish(store, submit(store))
    hours = []
    for _ in range(MAX_TRIES):
        assert len(post.tick(status(503)).requests) == 1
        [row] = post.log(endpoint.id)
        if row.status == "pending":
            wait = row.next_at - now(store)
            hours.append(wait / 3600)
            post.later(wait - 1)
            assert post.tick(status(503)).requests == []  # a second too early
            post.later(2)

    promised = [5 / 3600, 5 / 60, 0.5, 2, 5, 10, 14, 20, 24]
    assert all(least - 0.01 <= h <= 1.1 * least + 0.01 for h, least in zip(hours, promised, strict=True))
    assert 3 * 24 < sum(hours) < 3.5 * 24
    [row] = post.log(endpoint.id)
    assert (row.status, row.tries, len(row.attempts)) == ("failed", MAX_TRIES, MAX_TRIES)
    post.later(10**6)
    assert post.tick().requests == []

    store.webhooks.resend(TENANT, row.id)
    [request] = post.tick().requests
    assert request.headers["webhook-id"] == row.event_id
    assert post.log(endpoint.id)[0].status == "succeeded"


def now(store):
    with store.database.read() as connection:
        return connection.scalar(select(database_now()))


def test_42_retry_after_is_honoured_up_to_an_hour(post, store):
    endpoint = post.add()
    for _ in range(2):
        finish(store, submit(store))

    post.tick(status(429, retry_after="600"), status(503, retry_after="86400"))

    waits = sorted(row.next_at - now(store) for row in post.log(endpoint.id))
    assert 600 - 5 < waits[0] < 661 and 3600 - 5 < waits[1] < 3961


def test_41_410_disables_the_endpoint(post, store):
    endpoint = post.add()
    finish(store, submit(store))

    post.tick(status(410))

    assert store.webhooks.get(TENANT, endpoint.id).disabled_reason == "gone"
    assert post.log(endpoint.id)[0].error == "gone"
    finish(store, submit(store))
    assert post.tick().requests == []


def test_five_days_of_failure_disable_the_endpoint(post, store):
    endpoint = post.add()
    finish(store, submit(store))
    post.tick(status(500))
    post.later(5 * 86400 + 60, webhooks, "failing_since")
    post.later(100)

    post.tick(status(500))

    assert store.webhooks.get(TENANT, endpoint.id).disabled_reason == "failing"


def test_28_a_name_that_has_moved_inside_fails_with_forbidden_address(post, store):
    endpoint = post.add()
    finish(store, submit(store))
    post.net.names[HOST] = ["169.254.169.254"]

    assert post.tick().requests == []

    assert post.log(endpoint.id)[0].error == "forbidden_address"
    assert post.net.connected == []


@pytest.mark.parametrize("answer", [status(302, location="http://169.254.169.254/"), silence])
def test_31_40_what_a_receiver_tries_is_only_a_failed_attempt(post, store, answer):
    endpoint = post.add()
    finish(store, submit(store))

    post.tick(answer, total_s=0.3)

    [row] = post.log(endpoint.id)
    assert (row.status, row.error) == ("pending", "redirect" if isinstance(answer, bytes) else "timeout")


def test_a_dispatcher_that_dies_between_commit_and_delivery_or_after_it_loses_nothing(post, store):
    """At least once: the second receiver gets what the first may have got, under the same id."""
    post.add()
    finish(store, submit(store))

    async def die_after_the_answer():
        receiver = Receiver()
        async with receiver.serving(post.authority.server(HOST)):
            post.net.ports[PUBLIC] = receiver.port
            with post.dispatcher() as dispatcher:

                async def dead(*_):
                    raise asyncio.CancelledError

                dispatcher._settle = dead
                await dispatcher.tick()
                with contextlib.suppress(asyncio.CancelledError):
                    await dispatcher.drain()
        return receiver

    first = asyncio.run(die_after_the_answer()).requests
    assert post.tick().requests == []  # the lease of the dead one still holds
    post.later(LEASE_S)
    second = post.tick().requests

    assert len(first) == len(second) == 1
    assert first[0].headers["webhook-id"] == second[0].headers["webhook-id"]


def test_while_a_secret_is_rotated_old_and_new_receivers_verify(post, store):
    endpoint = post.add()
    rotated = store.webhooks.rotate(TENANT, endpoint.id, overlap_s=3600)
    finish(store, submit(store))

    [request] = post.tick().requests

    for salt in (endpoint.salt, rotated.salt):
        Webhook(SIGNER.secret(salt)).verify(request.body, request.headers)


def test_a_job_that_was_deleted_is_not_told_of(post, store):
    endpoint = post.add()
    row = submit(store)
    finish(store, row)
    store.delete(TENANT, row.id)

    assert post.tick().requests == []

    [done] = post.log(endpoint.id)
    assert (done.status, done.error) == ("failed", "deleted")
    assert store.webhooks.get(TENANT, endpoint.id).failing_since is None


def test_the_trace_of_the_request_goes_on_to_the_receiver(post, store):
    trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    post.add()
    store.cancel(TENANT, store.submit(TENANT, ask(), traceparent=trace)[0].id)

    [request] = post.tick().requests

    assert request.headers["traceparent"].split("-")[1] == "ab" * 16


def test_a_test_event_arrives(post, store):
    endpoint = post.add("started")
    store.webhooks.test(TENANT, endpoint.id)

    [request] = post.tick().requests

    body = json.loads(request.body)
    assert (body["type"], body["data"]) == ("webhook.test", {"webhook": endpoint.id})


def test_a_fault_of_ours_is_an_attempt_and_not_a_loop(post, store, monkeypatch):
    endpoint = post.add()
    finish(store, submit(store))

    def broken(*_):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(dispatching, "payload", broken)
        assert post.tick().requests == []
    [row] = post.log(endpoint.id)
    assert (row.status, row.error, row.tries) == ("pending", "internal_error", 1)
    assert store.webhooks.get(TENANT, endpoint.id).failing_since is None
    post.later(10)
    assert len(post.tick().requests) == 1


def test_a_delivery_that_kills_its_dispatchers_is_given_up(post, store):
    endpoint = post.add()
    finish(store, submit(store))
    for _ in range(MAX_TRIES):
        assert store.webhooks.lease(1, share=1)
        post.later(LEASE_S + 1)

    assert post.tick().requests == []
    assert (post.log(endpoint.id)[0].status, post.log(endpoint.id)[0].error) == ("failed", "lost")


def test_a_slow_receiver_holds_up_no_other(post, store):
    slow = post.add()
    for _ in range(8):
        finish(store, submit(store))
    post.net.names["quick.example"] = ["93.184.216.99"]
    quick = store.webhooks.add(TENANT, url="https://quick.example/", events=["finished"], description="")
    finish(store, submit(store))

    async def run():
        stuck, fast = Receiver([silence]), Receiver()
        tls = post.authority.server(HOST, "quick.example")
        async with stuck.serving(tls), fast.serving(tls):
            post.net.ports = {PUBLIC: stuck.port, "93.184.216.99": fast.port}
            with post.dispatcher(total_s=1, concurrency=4, poll_s=0.02) as dispatcher:
                stop = asyncio.Event()
                running = asyncio.create_task(dispatcher.run(stop))
                while not fast.requests:
                    await asyncio.sleep(0.01)
                held = len(stuck.requests)
                stop.set()
                await running
        return held, fast

    held, fast = asyncio.run(run())

    assert held <= 1  # a quarter of the four
    assert len(fast.requests) == 1
    assert post.log(quick.id)[0].status == "succeeded"
    assert {row.status for row in post.log(slow.id)} == {"pending"}


def test_it_runs_until_it_is_stopped_and_ends_what_is_under_way(post, store):
    endpoint = post.add()
    for _ in range(5):
        finish(store, submit(store))

    async def run():
        stop = asyncio.Event()

        async def answer_late(reader, writer):
            stop.set()
            await asyncio.sleep(0.1)
            writer.write(status(200))

        receiver = Receiver([answer_late])
        async with receiver.serving(post.authority.server(HOST)):
            post.net.ports[PUBLIC] = receiver.port
            with post.dispatcher(poll_s=0.01) as dispatcher:
                await dispatcher.run(stop)
        return receiver

    receiver = asyncio.run(run())

    assert (
        len([row for row in post.log(endpoint.id) if row.status == "succeeded"])
        == len(receiver.requests)
        == 5
    )


def test_two_dispatchers_deliver_every_event_once(post, store):
    post.add("started", "finished")
    for _ in range(10):
        finish(store, submit(store))

    async def run():
        receiver = Receiver()
        async with receiver.serving(post.authority.server(HOST)):
            post.net.ports[PUBLIC] = receiver.port
            with post.dispatcher(poll_s=0.01) as one, post.dispatcher(poll_s=0.01) as other:
                stop = asyncio.Event()
                running = [asyncio.create_task(dispatcher.run(stop)) for dispatcher in (one, other)]
                while store.webhooks.waiting()[0]:
                    await asyncio.sleep(0.02)
                stop.set()
                await asyncio.gather(*running)
        return [request.headers["webhook-id"] for request in receiver.requests]

    got = asyncio.run(run())

    assert len(got) == len(set(got)) == 20


def test_a_database_that_is_away_is_asked_again(post, store, monkeypatch):
    post.add()
    finish(store, submit(store))
    asked = []
    lease = store.webhooks.lease

    def flaky(*args, **kwargs):
        asked.append(args)
        if len(asked) == 1:
            raise StoreUnavailable
        return lease(*args, **kwargs)

    monkeypatch.setattr(store.webhooks, "lease", flaky)

    assert len(post.tick(times=2).requests) == 1


def test_what_a_database_that_is_away_for_a_moment_could_not_record_is_not_sent_again(
    post, store, monkeypatch
):
    endpoint = post.add()
    finish(store, submit(store))
    settle, asked = store.webhooks.settle, []

    def flaky(*args, **kwargs):
        asked.append(args)
        if len(asked) == 1:
            raise StoreUnavailable
        return settle(*args, **kwargs)

    monkeypatch.setattr(store.webhooks, "settle", flaky)
    monkeypatch.setattr(dispatching, "PAUSES_S", (0.01,))

    assert len(post.tick().requests) == 1
    assert post.log(endpoint.id)[0].status == "succeeded"


def test_twenty_rounds_of_chance_deliver_every_event_exactly_as_often_as_it_succeeded(post, store):
    """Whatever receivers answer, no event is lost and none is delivered after its success."""
    chance = random.Random(4)
    endpoint = post.add("started", "finished")
    for _ in range(5):
        finish(store, submit(store))
    got = []
    for _ in range(20):
        answers = [chance.choice([status(200), status(503), status(302), b"garbage"]) for _ in range(20)]
        receiver = post.tick(*answers)
        got += [(r.headers["webhook-id"], a) for r, a in zip(receiver.requests, answers, strict=False)]
        post.later(100_000)

    rows = post.log(endpoint.id)
    assert {row.status for row in rows} <= {"succeeded", "failed"}
    for row in rows:
        answers = [answer for event, answer in got if event == row.event_id]
        assert len(answers) == row.tries
        assert (status(200) in answers) == (row.status == "succeeded")
        assert status(200) not in answers[:-1]
