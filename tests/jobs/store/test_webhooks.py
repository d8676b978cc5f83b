"""The outbox and its deliveries: written with the change, leased by one, settled by fence."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, update

from jobs.errors import Conflict, NotFound
from jobs.schemas import JobError, Status
from jobs.store.deliveries import FAILING_S, LEASE_S, candidates
from jobs.store.endpoints import MAX_WEBHOOKS
from jobs.store.tables import deliveries, delivery_attempts, jobs, webhooks
from tests.jobs.given import LIMITS, TENANT, ask, claim, picture, submit

URL = "https://hooks.example/x"


@pytest.fixture
def hooks(store):
    return store.webhooks


def add(hooks, *events, tenant=TENANT):
    return hooks.add(tenant, url=URL, events=events or ("started", "output", "finished"), description="")


def recorded(store):
    """(type, webhook) of every delivery, oldest first."""
    with store.database.read() as connection:
        order = (deliveries.c.created_at, deliveries.c.id)
        return [(row.type, row.webhook_id) for row in connection.execute(select(deliveries).order_by(*order))]


def lease(hooks, limit=100, share=100, busy=()):
    return hooks.lease(limit, share=share, busy=busy)


def pass_time(store, table, seconds, *columns):
    with store.database.write() as connection:
        connection.execute(update(table).values({name: table.c[name] - seconds for name in columns}))


def finish(store, row, status=Status.SUCCEEDED, **given):
    held = claim(store, row)
    assert store.finish(held, status, **given)


# --- the outbox ------------------------------------------------------------------------------------------


def test_a_job_tells_of_its_start_its_outputs_and_its_end(store, hooks):
    endpoint = add(hooks)
    held = claim(store, submit(store))
    store.finish(held, Status.SUCCEEDED, outputs=[picture(held, "a.png"), picture(held, "b.png")])

    assert sorted(recorded(store)) == [
        ("job.finished", endpoint.id),
        ("job.output", endpoint.id),
        ("job.output", endpoint.id),
        ("job.started", endpoint.id),
    ]


def test_each_receiver_gets_what_it_asked_for_under_one_event_id(store, hooks):
    first, second = add(hooks, "finished"), add(hooks, "started", "finished")
    finish(store, submit(store))

    found = lease(hooks)
    assert sorted((one.type, one.webhook_id) for one in found) == sorted(
        [("job.finished", first.id), ("job.finished", second.id), ("job.started", second.id)]
    )
    ended = [one.event_id for one in found if one.type == "job.finished"]
    assert ended[0] == ended[1] and len({one.id for one in found}) == 3


def test_a_job_may_name_a_receiver_of_its_own(store, hooks):
    row = submit(store, webhook={"url": URL, "events": ["finished"]})
    submit(store)
    finish(store, row)

    [told] = lease(hooks)
    assert (told.webhook_id, told.url, told.job_id) == ("jobs", URL, row.id)
    assert told.salts == (hooks.of_jobs(TENANT).salt,)


def test_other_tenants_are_not_told(store, hooks):
    add(hooks, tenant="other")
    finish(store, submit(store))

    assert recorded(store) == []


@pytest.mark.parametrize("way", ["failed", "canceled", "canceled late", "expired", "lost", "reaped"])
def test_every_way_to_end_is_told_once(store, hooks, later, way):
    endpoint = add(hooks, "finished")
    if way == "expired":
        row = submit(store, deadline_s=5)
        later(row.id, 6)
        store.expire_deadlines()
    elif way == "canceled":
        store.cancel(TENANT, submit(store).id)
    elif way == "failed":
        finish(store, submit(store), Status.FAILED, error=JobError(code="diverged", detail="NaN"))
    elif way == "canceled late":
        held = claim(store, submit(store))
        store.cancel(TENANT, held.job_id)
        store.finish(held, Status.CANCELED)
    else:
        row = submit(store)
        for _ in range(LIMITS.max_losses):
            held = claim(store, row)
            if way == "lost":
                store.release(held, reason="lost")
            else:
                later(row.id, LIMITS.lease_s + 1)
                store.reap_leases()

    assert recorded(store) == [("job.finished", endpoint.id)]


def test_a_start_is_told_once_for_each_series_of_attempts(store, hooks, later):
    endpoint = add(hooks, "started")
    row = submit(store)
    store.release(claim(store, row), reason="drain")
    claim(store, row)
    later(row.id, LIMITS.lease_s + 1)
    store.release(claim(store, row), reason="retry")
    claim(store, row)
    store.cancel(TENANT, row.id)
    assert recorded(store) == [("job.started", endpoint.id)]
    later(row.id, LIMITS.lease_s + 1)
    store.cancel_orphans()

    store.retry(TENANT, row.id)
    claim(store, row)

    assert recorded(store) == [("job.started", endpoint.id)] * 2


def test_a_change_that_is_rolled_back_tells_nobody(store, hooks):
    add(hooks)
    held = claim(store, submit(store))
    before = recorded(store)

    @sqlalchemy_event.listens_for(store.database.engine, "commit")
    def crash(connection):
        raise RuntimeError("the process dies before the commit")

    with pytest.raises(RuntimeError):
        store.finish(held, Status.SUCCEEDED, outputs=[picture(held)])
    sqlalchemy_event.remove(store.database.engine, "commit", crash)

    assert recorded(store) == before
    assert store.get(TENANT, held.job_id).status is Status.RUNNING


def test_a_stale_worker_tells_nobody(store, hooks, later):
    add(hooks, "finished", "output")
    row = submit(store)
    stale = claim(store, row)
    later(row.id, LIMITS.lease_s + 1)
    claim(store, row)

    assert store.finish(stale, Status.SUCCEEDED, outputs=[picture(stale)]) is False
    assert recorded(store) == []


def test_many_outputs_for_many_receivers_fit_into_the_statements(store, hooks):
    for _ in range(MAX_WEBHOOKS):
        add(hooks, "output")
    held = claim(store, submit(store))

    store.finish(held, Status.SUCCEEDED, outputs=[picture(held, f"{n}.png") for n in range(100)])

    assert len(recorded(store)) == 100 * MAX_WEBHOOKS


# --- leasing and settling --------------------------------------------------------------------------------


def test_a_delivery_is_leased_to_one_of_many_dispatchers(store, hooks):
    add(hooks, "finished")
    for _ in range(12):
        finish(store, submit(store))

    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: lease(hooks, 3), range(4)))

    taken = [one.id for batch in (*batches, lease(hooks)) for one in batch]
    assert len(taken) == len(set(taken)) == 12
    assert lease(hooks) == []


def test_what_a_dead_dispatcher_had_is_due_again_and_its_late_answer_counts_for_nothing(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    [lost] = lease(hooks)
    assert lease(hooks) == []
    pass_time(store, deliveries, LEASE_S + 1, "next_at")
    [again] = lease(hooks)
    assert (again.id, again.fence, again.tries) == (lost.id, 2, 2)

    hooks.settle(lost, succeeded=False, error="timeout")
    assert hooks.delivery(TENANT, lost.id).status == "pending"
    hooks.settle(again, succeeded=True, status=204)

    done = hooks.delivery(TENANT, lost.id)
    assert (done.status, [a.number for a in done.attempts]) == ("succeeded", [2])
    assert hooks.get(TENANT, endpoint.id).failing_since is None


def test_a_failure_is_tried_again_when_its_time_has_come_and_logged(store, hooks):
    add(hooks, "finished")
    finish(store, submit(store))
    [one] = lease(hooks)
    hooks.settle(one, succeeded=False, retry_in_s=300, duration_ms=12, status=503, error="status")

    assert lease(hooks) == []
    pass_time(store, deliveries, 299, "next_at")
    assert lease(hooks) == []
    pass_time(store, deliveries, 2, "next_at")
    [again] = lease(hooks)
    assert again.event_id == one.event_id

    [attempt] = hooks.delivery(TENANT, one.id).attempts
    assert (attempt.status, attempt.error, attempt.duration_ms) == (503, "status", 12)


def test_one_webhook_has_its_share_and_a_busy_one_nothing(store, hooks):
    crowd, other = add(hooks, "finished"), add(hooks, "started")
    for _ in range(6):
        finish(store, submit(store))

    first = lease(hooks, 100, share=2)
    assert sorted(one.webhook_id for one in first) == sorted([crowd.id] * 2 + [other.id] * 2)
    rest = lease(hooks, 100, share=100, busy=[(TENANT, crowd.id)])
    assert {one.webhook_id for one in rest} == {other.id}
    assert len(lease(hooks, 3)) == 3


def test_a_dead_letter_can_be_sent_again_as_the_same_event(store, hooks):
    add(hooks, "finished")
    finish(store, submit(store))
    [one] = lease(hooks)
    with pytest.raises(Conflict):
        hooks.resend(TENANT, one.id)
    hooks.settle(one, succeeded=False, status=500, error="status")
    assert hooks.delivery(TENANT, one.id).status == "failed"

    assert hooks.resend(TENANT, one.id).status == "pending"
    [again] = lease(hooks)

    assert (again.event_id, again.tries, again.fence) == (one.event_id, 1, 2)


def test_endpoints_that_come_and_go_fail_no_job(store, hooks):
    """A delivery names its endpoint, and an endpoint may be removed while a job ends."""
    over = threading.Event()

    def come_and_go():
        while not over.is_set():
            endpoint = add(hooks)
            hooks.alter(TENANT, endpoint.id, enabled=False)
            hooks.remove(TENANT, endpoint.id)

    def work():
        for _ in range(10):
            finish(store, submit(store))

    with ThreadPoolExecutor(4) as pool:
        restless = [pool.submit(come_and_go) for _ in range(2)]
        working = [pool.submit(work) for _ in range(2)]
        try:
            for future in working:
                future.result()
        finally:
            over.set()
        for future in restless:
            future.result()


def test_settling_while_its_endpoint_is_disabled_and_enabled_waits_in_no_ring(store, hooks):
    endpoint = add(hooks, "started", "finished")
    for _ in range(10):
        finish(store, submit(store))

    def settle(leased):
        hooks.settle(leased, succeeded=False, retry_in_s=0, error="timeout")

    def switch():
        for enabled in (False, True) * 5:
            hooks.alter(TENANT, endpoint.id, enabled=enabled)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(settle, one) for one in lease(hooks)] + [pool.submit(switch)]
        for future in futures:
            future.result()


def test_the_look_for_work_reads_the_index_of_what_waits(store):
    """However much is kept or waits for later."""
    question = candidates(10, share=2, busy=[("default", "whk_1")])
    compiled = question.compile(store.database.engine, compile_kwargs={"literal_binds": True})
    with store.database.read() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the table is all but empty
            plan = connection.exec_driver_sql(f"EXPLAIN {compiled}").fetchall()
            assert "Index Cond: (next_at <= " in str(plan)
        else:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").fetchall()
    assert "ix_deliveries_pending" in str(plan)


# --- endpoints -------------------------------------------------------------------------------------------


def test_410_disables_an_endpoint_and_gives_up_what_waits_for_it(store, hooks):
    endpoint = add(hooks, "started", "finished")
    finish(store, submit(store))
    first, second = lease(hooks)
    finish(store, submit(store))

    assert hooks.settle(first, succeeded=False, status=410, error="gone", gone=True) == "gone"

    row = hooks.get(TENANT, endpoint.id)
    assert (row.disabled_reason, row.disabled_at is not None) == ("gone", True)
    assert {d.error for d in hooks.deliveries(TENANT, endpoint.id)} == {"gone", "disabled"}
    assert hooks.settle(second, succeeded=True) is None  # it was under way
    before = len(recorded(store))
    finish(store, submit(store))
    assert len(recorded(store)) == before
    with pytest.raises(Conflict) as refused:
        hooks.resend(TENANT, first.id)
    assert refused.value.code == "webhook_disabled"

    enabled = hooks.alter(TENANT, endpoint.id, enabled=True)
    assert (enabled.disabled_at, enabled.failing_since) == (None, None)
    hooks.resend(TENANT, first.id)


def test_five_days_of_failures_disable_an_endpoint_and_one_success_forgives(store, hooks):
    endpoint = add(hooks, "finished")
    for _ in range(4):
        finish(store, submit(store))
    one, two, three, four = lease(hooks)
    failed = {"succeeded": False, "retry_in_s": 5, "error": "timeout"}

    assert hooks.settle(one, **failed) is None
    pass_time(store, webhooks, FAILING_S - 10, "failing_since")
    assert hooks.settle(two, succeeded=True) is None
    assert hooks.get(TENANT, endpoint.id).failing_since is None
    assert hooks.settle(three, **failed) is None
    pass_time(store, webhooks, FAILING_S + 10, "failing_since")
    assert hooks.settle(four, **failed) == "failing"

    assert hooks.get(TENANT, endpoint.id).disabled_reason == "failing"
    assert lease(hooks) == []


def test_the_webhook_of_jobs_is_never_disabled(store, hooks):
    finish(store, submit(store, webhook={"url": URL, "events": ["finished"]}))
    [one] = lease(hooks)

    assert hooks.settle(one, succeeded=False, status=410, error="gone", gone=True) is None
    assert hooks.get(TENANT, "jobs").disabled_at is None


def test_what_is_under_way_when_its_endpoint_is_disabled_is_not_sent(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    hooks.alter(TENANT, endpoint.id, enabled=False)
    assert [d.status for d in hooks.deliveries(TENANT, endpoint.id)] == ["failed"]
    with store.database.write() as connection:  # a change that read the endpoint before it was disabled
        connection.execute(update(deliveries).values(status="pending", finished_at=None))

    [one] = lease(hooks)

    assert one.url is None


def test_a_changed_url_takes_what_waits_with_it(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    hooks.alter(TENANT, endpoint.id, url="https://new.example/")

    assert lease(hooks)[0].url == "https://new.example/"


def test_a_rotated_secret_signs_beside_the_new_one_for_a_while(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    new = hooks.rotate(TENANT, endpoint.id, overlap_s=1000)
    assert new.salt != endpoint.salt

    [one] = lease(hooks)
    assert one.salts == (new.salt, endpoint.salt)
    pass_time(store, webhooks, 1001, "previous_until")
    pass_time(store, deliveries, LEASE_S + 1, "next_at")
    assert lease(hooks)[0].salts == (new.salt,)


def test_43_a_tenant_has_twenty_webhooks_at_most_even_when_they_are_added_at_once(store, hooks):
    for _ in range(MAX_WEBHOOKS - 3):
        add(hooks)
    hooks.of_jobs(TENANT)

    def try_to_add(_):
        try:
            return add(hooks)
        except Conflict as refused:
            return refused.code

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(try_to_add, range(6)))

    assert outcomes.count("too_many_webhooks") == 3
    assert len(hooks.list(TENANT)) == MAX_WEBHOOKS
    assert add(hooks, tenant="other")


def test_foreign_webhooks_and_deliveries_are_not_there(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    [one] = lease(hooks)
    for call in (
        lambda: hooks.get("other", endpoint.id),
        lambda: hooks.alter("other", endpoint.id, enabled=False),
        lambda: hooks.rotate("other", endpoint.id, overlap_s=0),
        lambda: hooks.remove("other", endpoint.id),
        lambda: hooks.test("other", endpoint.id),
        lambda: hooks.deliveries("other", endpoint.id),
        lambda: hooks.delivery("other", one.id),
        lambda: hooks.resend("other", one.id),
    ):
        with pytest.raises(NotFound):
            call()
    assert hooks.get(TENANT, endpoint.id) == endpoint


def test_a_removed_webhook_takes_its_deliveries_with_it(store, hooks):
    endpoint = add(hooks, "finished")
    finish(store, submit(store))
    [one] = lease(hooks)
    hooks.remove(TENANT, endpoint.id)

    assert recorded(store) == []
    assert hooks.settle(one, succeeded=True) is None  # it was under way


def test_pages_of_deliveries_lose_and_repeat_nothing(store, hooks):
    endpoint = add(hooks, "started", "finished")
    for _ in range(4):
        finish(store, submit(store))
    with store.database.write() as connection:
        connection.execute(update(deliveries).values(created_at=1_000_000.0))  # ties are broken by id

    seen, after = [], None
    while page := hooks.deliveries(TENANT, endpoint.id, after=after, limit=3):
        seen += [row.id for row in page]
        after = (page[-1].created_at, page[-1].id)

    assert len(seen) == len(set(seen)) == 8
    assert seen == sorted(seen, reverse=True)
    assert hooks.deliveries(TENANT, endpoint.id, status=["failed"]) == []


def test_what_ended_long_ago_is_forgotten_with_its_attempts(store, hooks):
    add(hooks, "finished")
    for _ in range(2):
        finish(store, submit(store))
    one, _ = lease(hooks)
    hooks.settle(one, succeeded=True, status=200)
    pass_time(store, deliveries, 100, "finished_at")

    assert hooks.forget(1000) == 0
    assert hooks.forget(50) == 1
    assert len(recorded(store)) == 1
    with store.database.read() as connection:
        assert connection.execute(select(delivery_attempts)).all() == []


def test_what_waits_is_counted(store, hooks):
    add(hooks, "finished")
    assert hooks.waiting() == (0, 0.0)
    finish(store, submit(store))
    pass_time(store, deliveries, 40, "next_at")

    count, late_s = hooks.waiting()

    assert count == 1 and 40 <= late_s < 60
    lease(hooks)
    assert hooks.waiting() == (1, 0.0)


def test_a_job_keeps_its_receiver_through_a_retry(store, hooks):
    row = submit(store, webhook={"url": URL, "events": ["finished"]})
    store.cancel(TENANT, row.id)
    store.retry(TENANT, row.id)
    store.cancel(TENANT, row.id)

    assert len(recorded(store)) == 2
    with store.database.read() as connection:
        assert connection.scalar(select(jobs.c.webhook)) == ask(
            webhook={"url": URL, "events": ["finished"]}
        ).webhook.model_dump(mode="json")
