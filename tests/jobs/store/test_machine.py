"""Claim, beat, finish, release, cancel, retry, expire, reap in any order: what must hold whatever happens.

Hypothesis drives two workers against a store and remembers what the store promised: which fences it gave out,
what it published, and which states it called terminal.
"""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import update

from jobs.errors import Conflict
from jobs.schemas import JobError, Progress, Status
from jobs.store import Beat, JobStore, Limits
from jobs.store.tables import jobs, metadata
from tests.jobs.given import TENANT, picture, submit

LIMITS = Limits(lease_s=30, stall_s=60, max_attempts=3, max_losses=3)
JOBS = 2
which = st.integers(0, JOBS - 1)


class JobsUnderFire(RuleBasedStateMachine):
    store: JobStore

    @initialize()
    def submit_jobs(self) -> None:
        with self.store.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.ids = [submit(self.store, deadline_s=1000).id for _ in range(JOBS)]
        self.claims = {id: [] for id in self.ids}  # every claim ever given out
        self.published = {id: {} for id in self.ids}  # by fence
        self.seen = {id: [self.store.get(TENANT, id)] for id in self.ids}
        self.retried = set()

    # --- what may happen -------------------------------------------------------------------------------

    @rule(job=which, worker=st.sampled_from(["w1", "w2"]))
    def deliver(self, job: int, worker: str) -> None:
        got = self.store.claim(self.ids[job], worker, payload_version=1)
        if got is not None:
            assert got.fence > max((c.fence for c in self.claims[got.job_id]), default=0)
            self.claims[got.job_id].append(got)

    @rule(data=st.data(), job=which, advanced=st.booleans(), tells=st.booleans())
    def beat(self, data: st.DataObject, job: int, advanced: bool, tells: bool) -> None:
        if held := self._any(data, job):
            answer = self.store.heartbeat(held, Progress(value=0.5) if tells else None, advanced=advanced)
            if answer is not Beat.LOST:
                assert held.fence == self._now(held.job_id).fence

    @rule(
        data=st.data(), job=which, status=st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.CANCELED])
    )
    def finish(self, data: st.DataObject, job: int, status: Status) -> None:
        if held := self._any(data, job):
            before = self._now(held.job_id)
            done = self.store.finish(held, status, outputs=[picture(held)])
            assert done == (before.status is Status.RUNNING and before.fence == held.fence)
            if done:
                assert held.fence not in self.published[held.job_id]
                self.published[held.job_id][held.fence] = picture(held)

    @rule(data=st.data(), job=which, reason=st.sampled_from(["drain", "retry", "lost"]))
    def release(self, data: st.DataObject, job: int, reason: str) -> None:
        if held := self._any(data, job):
            before = self._now(held.job_id)
            became = self.store.release(held, reason=reason, error=JobError(code="unavailable", detail="…"))
            assert (became is not None) == (before.status is Status.RUNNING and before.fence == held.fence)

    @rule(job=which)
    def cancel(self, job: int) -> None:
        before = self._now(self.ids[job])
        try:
            after = self.store.cancel(TENANT, self.ids[job])
        except Conflict:
            assert before.terminal and before.status is not Status.CANCELED
        else:
            assert after.cancel_requested

    @rule(job=which)
    def retry(self, job: int) -> None:
        before = self._now(self.ids[job])
        try:
            self.store.retry(TENANT, self.ids[job])
        except Conflict:
            assert not before.terminal or before.status is Status.SUCCEEDED
        else:
            assert before.terminal
            self.retried.add((before.id, before.seq))

    @rule(job=which, seconds=st.sampled_from([20, 31, 1001]))
    def time_passes(self, job: int, seconds: float) -> None:
        names = ("lease_until", "progress_at", "deadline_at", "next_send_at", "sent_at")
        values = {name: jobs.c[name] - seconds for name in names}
        with self.store.database.write() as connection:
            mine = (jobs.c.id == self.ids[job]) & jobs.c.finished_at.is_(None)
            connection.execute(update(jobs).where(mine).values(values))

    @rule()
    def reap(self) -> None:
        self.store.expire_deadlines()
        self.store.cancel_orphans()
        self.store.reap_leases()
        self.store.fail_exhausted()

    # --- what must hold --------------------------------------------------------------------------------

    @invariant()
    @precondition(lambda self: hasattr(self, "ids"))
    def holds(self) -> None:
        for id in self.ids:
            now, before = self._now(id), self.seen[id][-1]
            self._terminal_states_stay(before, now)
            assert now.seq >= before.seq and now.fence >= before.fence
            assert now.seq > before.seq or (now.status, now.progress) == (before.status, before.progress)
            assert now.attempts <= LIMITS.max_attempts and now.losses <= LIMITS.max_losses
            assert (now.status is Status.RUNNING) == (now.lease_until is not None)
            assert now.terminal == (now.finished_at is not None)
            self._only_the_last_fence_is_published(now)
            self._events_tell_the_status(now)
            self.seen[id].append(now)

    def _terminal_states_stay(self, before, now) -> None:
        if before.terminal and (before.id, before.seq) not in self.retried:
            assert now == before

    def _only_the_last_fence_is_published(self, now) -> None:
        expected = (self.published[now.id][now.fence],) if now.fence in self.published[now.id] else ()
        assert now.outputs == (expected if now.terminal else ())

    def _events_tell_the_status(self, now) -> None:
        events = self.store.events(TENANT, now.id)
        assert events[-1].body["status"] == now.status and events[-1].seq <= now.seq
        assert [e.seq for e in events] == sorted({e.seq for e in events})

    def _any(self, data: st.DataObject, job: int):
        """Any claim that was ever given out, stale ones too."""
        claims = self.claims[self.ids[job]]
        return data.draw(st.sampled_from(claims)) if claims else None

    def _now(self, id: str):
        return self.store.get(TENANT, id)


def test_nothing_that_can_happen_breaks_the_promises(store):
    store.limits = LIMITS

    class Machine(JobsUnderFire):
        pass

    Machine.store = store
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
