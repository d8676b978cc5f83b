"""A storm over the dispatcher: every end of a job is told to its receiver, as it was, and nothing else is."""

import random
import threading

import pytest
from sqlalchemy import select, update

from client import verify_webhook, webhooks
from jobs.store import open_store
from jobs.store.deliveries import LEASE_S
from jobs.store.tables import deliveries, jobs
from tests.chaos.load import Callers, orders
from tests.chaos.rig import Ground, rig
from tests.chaos.schedule import draw, length_s
from tests.chaos.storm import first_picture, idle, rage
from tests.e2e.receiver import receiving
from tests.servers import Unavailable, wait_until

KINDS = (
    "dispatcher_kill",
    "dispatcher_freeze",
    "worker_kill",
    "gateway_kill",
    "reaper_kill",
    "postgres_crash",
    "postgres_disconnect",
)
JOBS = 16


@pytest.mark.e2e
@pytest.mark.timeout(600)  # forty seconds on two quiet cores
def test_in_a_storm_every_end_is_told_and_nothing_else():
    try:
        with rig(Ground("postgresql")) as built, receiving() as receiver:
            judge(*weather(built, receiver, draw(11, KINDS, len(KINDS))))
    except Unavailable as reason:
        pytest.skip(str(reason))


def weather(built, receiver, faults):
    """The storm; (deliveries, jobs, secret, what the receiver got)."""
    receiver.statuses = [503, 204, 500, 204, 204, 429]  # it has its own troubles
    callers = Callers(built.url)
    built.spawn("dispatcher")
    with built.client() as client:
        made = client.send(webhooks.add(receiver.url))
    wanted = orders(11, JOBS, 0.85 * length_s(faults), first_picture(built, callers))
    asking = threading.Thread(target=callers.ask, args=(wanted,))
    asking.start()
    rage(built, faults, random.Random(11))
    asking.join()
    store = open_store(built.settings())
    wait_until(lambda: idle(built, store), "the end of all jobs", 120)
    wait_until(lambda: _all_told(store), "the last delivery", 120)
    with store.database.read() as connection:
        told = list(connection.execute(select(deliveries).where(deliveries.c.webhook_id == made.id)))
        ended = {row.id: row for row in connection.execute(select(jobs))}
    store.close()
    return told, ended, made.secret, list(receiver.got)


def _all_told(store):
    """Leases of dispatchers that died, and pauses after failures, end sooner than they would."""
    with store.database.write() as connection:
        sooner = {"next_at": deliveries.c.next_at - LEASE_S / 20}
        connection.execute(update(deliveries).where(deliveries.c.status == "pending").values(sooner))
    return store.webhooks.waiting()[0] == 0


def judge(told, ended, secret, got):
    arrived = [
        (headers["webhook-id"], verify_webhook(headers, body, secret, tolerance_s=600))
        for headers, body in got
    ]
    assert sorted(row.job_id for row in told) == sorted(ended)  # one delivery for each end
    assert {row.status for row in told} == {"succeeded"}
    assert {event_id for event_id, _ in arrived} == {row.event_id for row in told}
    for _, event in arrived:
        job, data = ended[event["data"]["id"]], event["data"]
        assert (event["type"], data["status"], data["seq"]) == ("job.finished", job.status, job.seq)
    # More than once only where a dispatcher died or the receiver failed: never a flood.
    assert len(arrived) <= 3 * len(told)
