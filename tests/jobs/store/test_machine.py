"""Whatever callers, workers, reapers and time do, in any order: the store is what its plain twin is.

Hypothesis drives both. Claims are never forgotten, so beats, finishes and releases are often stale ones.
`STORE_EXAMPLES=1000 pytest tests/jobs/store/test_machine.py` looks longer.
"""

import os
from collections.abc import Callable
from functools import partial
from itertools import permutations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, update

from jobs.errors import Conflict, NotFound
from jobs.lanes import LANES
from jobs.schemas import PAYLOAD_VERSION, JobError, Kind, Progress, Status
from jobs.store import Claim, JobStore, Limits, OutputRow
from jobs.store.tables import holds, jobs, metadata, outputs, storage, usage
from tests.jobs.given import TENANT, picture, submit
from tests.jobs.store.twin import Output, Refused, Twin

EXAMPLES = int(os.environ.get("STORE_EXAMPLES", "12"))
STEPS = 40
JOBS = 3  # at a time
# The database's own clock goes on meanwhile: beside these steps, its seconds are nothing.
LIMITS = Limits(
    lease_s=3000, stall_s=6000, max_attempts=3, max_losses=3, artifact_ttl_s=90_000, leftovers_s=50_000
)
STEPS_OF_TIME_S = (2000, 3100, 100_100)
DEADLINE_S = 10_000
TIMES = (
    "lease_until progress_at created_at queued_at started_at finished_at deadline_at expires_at "
    "sent_at next_send_at"
).split()
BOTH = {"kinds": [kind.value for kind in Kind], "lanes": LANES}


class JobsUnderFire(RuleBasedStateMachine):
    store: JobStore

    @initialize()
    def begin(self) -> None:
        with self.store.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        self.twin = Twin(LIMITS)
        self.ids: list[str] = []
        self.claims: list[Claim] = []  # all that were ever given out, the newest first
        self.submit(late=True)
        self.submit(late=False)

    @rule(data=st.data())
    def anything(self, data: st.DataObject) -> None:
        """One rule, for of many Hypothesis switches some off in each example, and long stories need all."""
        what = data.draw(st.sampled_from(WEIGHED))
        if what in ("beat", "finish", "release") and not self.claims:
            what = "deliver"
        getattr(self, what)(**{name: data.draw(values(self), name) for name, values in RULES[what].items()})

    # --- callers -----------------------------------------------------------------------------------------

    def submit(self, late: bool) -> None:
        if len(self.twin.jobs) >= JOBS:
            return
        deadline_s = DEADLINE_S if late else None
        row = submit(self.store, **({"deadline_s": deadline_s} if late else {}))
        self.twin.submit(row.id, deadline_s)
        self.ids.append(row.id)

    def call(self, job_id: str, what: str) -> None:
        """Both answer alike, or refuse alike."""
        store_does = partial(getattr(self.store, what), TENANT, job_id)
        try:
            expected = getattr(self.twin, what)(job_id)
        except Refused:
            with pytest.raises(Conflict):
                store_does()
        except KeyError:
            with pytest.raises(NotFound):
                store_does()
        else:
            found = store_does()
            assert (found if what == "delete" else found.status) == expected

    # --- workers -----------------------------------------------------------------------------------------

    def deliver(self, job_id: str, worker: str) -> None:
        assert self.store.claim(job_id, "old", payload_version=PAYLOAD_VERSION - 1) is None
        able = self.twin.able(job_id)
        self._claimed(self.store.claim(job_id, worker, payload_version=PAYLOAD_VERSION), able)

    def deliver_a_hint(self, hint: str) -> None:
        """Any waiting job may come; one that waits for its next attempt need not come yet."""
        waiting = [
            job
            for job_id, job in self.twin.jobs.items()
            if job.status is Status.QUEUED and self.twin.able(job_id) and job.queued_at <= self.twin.now
        ]
        lapsed = self.twin.able(hint) and self.twin.jobs[hint].status is Status.RUNNING
        got = self.store.claim_fairest(hint, "w4", payload_version=PAYLOAD_VERSION, **BOTH)
        assert got is not None or not (waiting or lapsed)
        if lapsed:
            assert got is not None and got.job_id == hint
        self._claimed(got, got is not None and self.twin.able(got.job_id))

    def _claimed(self, got: Claim | None, able: bool) -> None:
        assert (got is not None) == able
        if got is None:
            return
        key = self.twin.jobs[got.job_id].checkpoint_key
        assert got.fence == self.twin.claim(got.job_id, got.worker)
        assert got.checkpoint_key == key
        self.claims.insert(0, got)

    def beat(self, held: Claim, told: float | None, saves: bool, advanced: bool) -> None:
        key = f"{held.row.prefix}ckpt/{held.fence}-1.safetensors" if saves else None
        progress = None if told is None else Progress(value=told)
        answer = self.store.heartbeat(held, progress, key, advanced=advanced)
        assert answer is self.twin.heartbeat(held.job_id, held.fence, told, key, advanced)

    def finish(self, held: Claim, status: Status) -> None:
        output = picture(held)
        error = JobError(code="diverged", detail="…") if status is Status.FAILED else None
        done = self.store.finish(held, status, outputs=[output], error=error)
        kept = Output(output.key, self.twin.now + LIMITS.artifact_ttl_s, output.size_bytes)
        code = error and error.code
        assert done == self.twin.finish(held.job_id, held.fence, status, code, kept)

    def release(self, held: Claim, reason: str) -> None:
        became = self.store.release(held, reason=reason, error=JobError(code="unavailable", detail="…"))
        assert became == self.twin.release(held.job_id, held.fence, reason, "unavailable")

    # --- time and the reaper -----------------------------------------------------------------------------

    def time_passes(self, seconds: float) -> None:
        self.twin.now += seconds
        earlier = {name: jobs.c[name] - seconds for name in TIMES}
        with self.store.database.write() as connection:
            connection.execute(update(jobs).values(earlier))
            connection.execute(update(outputs).values(expires_at=outputs.c.expires_at - seconds))

    def reap(self, parts: tuple[str, ...]) -> None:
        for part in parts:
            assert getattr(self.store, part)() == getattr(self.twin, part)()
        keys = self.store.sweep_artifacts()
        assert set(keys) == self.twin.sweep_artifacts()
        self.store.forget_keys(keys)
        found = {left.job_id: set(left.keep) for left in self.store.leftovers()}
        assert found == self.twin.leftovers()
        for job_id in found:
            self.store.mark_swept(job_id)

    # --- what must hold after each of them ---------------------------------------------------------------

    @invariant()
    def every_job_is_what_its_twin_is(self) -> None:
        rows = {row.id: row for row in self.store.list(TENANT)}
        assert set(rows) == set(self.twin.jobs)
        for job_id, job in self.twin.jobs.items():
            row = rows[job_id]
            assert {name: getattr(row, name) for name in SAME} == {name: getattr(job, name) for name in SAME}
            assert (row.error and row.error.code) == job.error
            assert row.progress.value == job.progress
            assert (row.lease_until is None) == (job.lease_until is None)
            assert (row.finished_at is None) == (job.finished_at is None)
            assert list(map(_output, row.outputs)) == [(o.key, o.size_bytes, o.gone) for o in job.outputs]

    @invariant()
    def every_transition_is_told_in_order(self) -> None:
        for job_id, job in self.twin.jobs.items():
            told = self.store.events(TENANT, job_id)
            assert [(e.body["status"], e.body["cancel_requested"]) for e in told] == job.told
            assert [event.seq for event in told] == sorted({event.seq for event in told})
            assert told[-1].seq <= job.seq

    @invariant()
    def what_is_held_used_and_stored_adds_up(self) -> None:
        live = [job for job in self.twin.jobs.values() if not job.status.terminal]
        ends = sum(job.ends for job in self.twin.jobs.values()) + self.twin.ends_of_deleted
        there = [o for job in self.twin.jobs.values() for o in job.outputs if not o.gone]
        with self.store.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(holds)) == len(live)
            assert (connection.scalar(select(func.sum(usage.c.jobs))) or 0) == ends
            stored = connection.scalar(select(func.sum(storage.c.size_bytes))) or 0
        assert stored == sum(output.size_bytes for output in there)

    @invariant()
    def who_waits_is_sent(self) -> None:
        """Only waiting jobs, and after so long every one of them."""
        due = {due.id for due in self.store.due_for_send()}
        queued = {job_id: job for job_id, job in self.twin.jobs.items() if job.status is Status.QUEUED}
        long = {job_id for job_id, job in queued.items() if job.queued_at <= self.twin.now - 1000}
        assert long <= due <= set(queued)


def _one_of(*values: object) -> Callable[[JobsUnderFire], st.SearchStrategy[object]]:
    return lambda machine: st.sampled_from(values)


def _id(machine: JobsUnderFire) -> st.SearchStrategy[str]:
    return st.sampled_from(machine.ids)


def _claim(machine: JobsUnderFire) -> st.SearchStrategy[Claim]:
    return st.sampled_from(machine.claims[:6])


PARTS = ("expire_deadlines", "reap_leases", "cancel_orphans", "fail_exhausted")
ENDS = (Status.SUCCEEDED, Status.FAILED, Status.CANCELED)
RULES: dict[str, dict[str, Callable[[JobsUnderFire], st.SearchStrategy[object]]]] = {
    "submit": {"late": _one_of(True, False)},
    "call": {"job_id": _id, "what": _one_of("cancel", "cancel", "cancel", "retry", "retry", "delete")},
    "deliver": {"job_id": _id, "worker": _one_of("w1", "w2", "w3")},
    "deliver_a_hint": {"hint": _id},
    "beat": {
        "held": _claim,
        "told": _one_of(None, 0.25, 0.5),
        "saves": _one_of(True, False),
        "advanced": _one_of(True, False),
    },
    "finish": {"held": _claim, "status": _one_of(*ENDS)},
    "release": {"held": _claim, "reason": _one_of("drain", "retry", "retry", "lost")},
    "time_passes": {"seconds": _one_of(*STEPS_OF_TIME_S)},
    "reap": {"parts": _one_of(*permutations(PARTS))},
}
WEIGHED = [
    *RULES,
    "call",
    "call",
    "deliver",
    "deliver",
    "beat",
    "release",
    "time_passes",
    "time_passes",
    "reap",
]

SAME = "status seq fence attempts losses cancel_requested worker checkpoint_key".split()


def _output(row: OutputRow) -> tuple[str | None, int, bool]:
    return row.key, row.size_bytes, row.gone


def test_the_store_is_what_its_twin_is_whatever_happens(store):
    store.limits = LIMITS
    store.database._flush = None  # a power cut is not among the things that happen here

    class Machine(JobsUnderFire):
        pass

    Machine.store = store
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=EXAMPLES < 100,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
