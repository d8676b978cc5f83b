"""The one thread that decides what the device computes, for all jobs of the process.

`forward` runs an op of a generator: rows of many jobs are merged into blocks (workers/blocks.py), whose
bytes do not depend on the company. `optimise` runs a program's samples in shared steps (workers/pool.py).
Forward blocks go first, but after `BURST` of them in a row one optimisation step is taken, so that neither
can starve the other.

Jobs wait in their own threads, where their callbacks run too: nothing that a job does holds the device up.
Reading a result or a checkpoint copies from the device in the reader's thread; everything else there is
done by this one, or on a CPU by its crew while it waits (workers/crew.py).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.program import Course, Outcome, Program
from jobs.errors import Transient
from workers.blocks import Answer, BlockRunner, ForwardQueue, Kind, Network, Op, Request, gathered, handed_out
from workers.crew import Crew
from workers.graphs import Graphs, Recorder
from workers.memory import EngineOutOfMemory, is_out_of_memory
from workers.pool import Pool, Ticket

BURST = 4  # forward blocks in a row while an optimisation waits
POLL_S = 0.5  # how often a waiting job's `check` is called at least
IDLE_S = 1.0  # how often an idle engine shows that it lives


class EngineClosed(Transient):
    """This worker is stopping; another one will take the job."""


class Model(Protocol):
    @property
    def generator(self) -> Network: ...


@dataclass(frozen=True)
class Tick:
    """A unit of device work, for metrics."""

    work: str  # forward | optimise
    rows: int  # wanted
    size: int  # computed, with padding
    seconds: float
    waits_s: tuple[float, ...] = ()  # how long requests waited whose first unit this is


@dataclass(frozen=True)
class Update:
    """How a job's optimisation stands: the latest steps, some may have been skipped."""

    course: Course
    device_s: float  # this job's share of device time
    units: int = 0  # steps that its samples took part in
    unit_rows: int = 0  # of those steps: its own samples and the others'

    @property
    def steps(self) -> list[int]:
        return self.course.steps

    @property
    def step(self) -> int:
        """Of the sample that is furthest behind."""
        return min(self.steps)

    @property
    def outcomes(self) -> list[Outcome]:
        return list(self.course.outcomes)

    @property
    def terms(self) -> dict[str, list[float]]:
        """The latest value of every loss term, for each sample that has taken a step."""
        return self.course.latest()

    @property
    def losses(self) -> list[float]:
        return self.terms.get("total", [])

    def tensors(self) -> dict[str, Tensor]:
        """A checkpoint of all samples, on the CPU; `optimise(saved=...)` goes on from it."""
        return self.course.tensors()

    def preview(self, i: int) -> Tensor | None:
        """(C, H, W) in about [-1, 1]: what sample i looked like in its last step."""
        return self.course.preview(i)


class Engine:
    """Owns a device. Use as a context manager, or call `close`."""

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        max_batch: int = 32,
        crew: int | None = None,
        recorder: Recorder | None = None,
        observe: Callable[[Tick], None] = lambda tick: None,
    ) -> None:
        """
        Args:
            crew: threads that compute side by side; left out, as many as torch has cores on a CPU.
            recorder: left out, forward blocks are not recorded but run kernel by kernel.
            observe: called on the engine's thread after every unit of work; must be quick.
        """
        self.device, self._observe = torch.device(device), observe
        if self.device.type == "cuda":  # some of its algorithms add up in the order in which threads arrive
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa are not float32
        cores = torch.get_num_threads() if self.device.type == "cpu" else 1
        self._crew = Crew(crew or cores)
        self._queue = ForwardQueue()
        self._graphs = Graphs(recorder) if recorder else None
        compute = self._graphs.computed if self._graphs else Kind.computed
        self._blocks = BlockRunner(self.device, max_batch, self._crew, compute)
        self._arrivals: deque[Ticket] = deque()
        self._pool = Pool(max_batch, self._crew)
        self._changed = threading.Condition()  # guards the queue, the arrivals and the two flags
        self._draining = self._closing = False
        self._burst = 0
        self._waits_s: list[float] = []  # of optimisations that have not taken a step yet
        self.busy = False  # a unit of work is under way
        self.last_tick = time.monotonic()  # when a unit began or ended, or the idle engine looked around
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    # --- for jobs ----------------------------------------------------------------------------------------

    def forward(self, model: Model, op: Op, inputs: Mapping[str, Tensor]) -> Answer:
        """Run `op(model.generator, inputs)`, at once with other jobs' rows.

        Args:
            op: maps (N, ...) to (N, ...) row by row; a module-level function, since its identity decides
                what merges.
            inputs: N rows each, any N >= 1.

        Returns:
            A future of what the op returns, on the CPU. Its exception is the op's, `EngineOutOfMemory`, or
            `EngineClosed`.
        """
        rows = {len(t) for t in inputs.values()}
        if len(rows) != 1 or 0 in rows:
            raise ValueError(f"inputs must have the same number of rows, at least one, got {sorted(rows)}")
        request = Request(dict(inputs), Answer(), rows.pop())
        with self._changed:
            if self._closing:
                raise EngineClosed
            self._queue.add(Kind.of(model.generator, op, inputs), request)
            self._changed.notify_all()
        return request.answer

    def optimise(
        self,
        program: Program,
        problems: Tensors,
        *,
        on_step: Callable[[Update], None] = lambda update: None,
        check: Callable[[], None] = lambda: None,
        saved: Tensors | None = None,
    ) -> Course:
        """Run the program's samples to their end, and wait for it.

        Both callbacks run in the calling thread, and may raise: the samples then leave at the next step.

        Args:
            on_step: told of progress; steps that pass while it is busy are skipped, the last one never.
            check: called at least every half second, also when nothing moves.
            saved: what `Update.tensors` gave, to go on from there.

        Raises:
            EngineClosed, EngineOutOfMemory, what a callback raised, or what the program raised for the
            whole batch. A sample that diverges is no error: see `Course.failures`.
        """
        ticket = Ticket(program, problems, saved)
        with self._changed:
            if self._draining:
                raise EngineClosed
            self._arrivals.append(ticket)
            self._changed.notify_all()
        try:
            return _follow(ticket, on_step, check)
        finally:
            ticket.withdrawn = True

    # --- for the process ---------------------------------------------------------------------------------

    def drain(self, timeout_s: float) -> bool:
        """Accept no more optimisations; wait until nothing is left to do. False if time was too short."""
        with self._changed:
            self._draining = True
            return self._changed.wait_for(lambda: not self._busy_or_waiting(), timeout_s)

    def close(self) -> None:
        """Stop after the unit under way. Whatever still waits fails with `EngineClosed`."""
        with self._changed:
            self._draining = self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._crew.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def waiting(self) -> dict[str, int]:
        """Requests and optimisations that are not done, by the kind of work."""
        with self._changed:
            return {"forward": len(self._queue), "optimise": len(self._arrivals) + len(self._pool)}

    # --- the thread --------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while (unit := self._next()) is not None:
                unit()
                with self._changed:
                    self.busy, self.last_tick = False, time.monotonic()
                    self._changed.notify_all()
        finally:  # after a fault of its own the engine stays "busy" and silent, which a watchdog sees
            self._abandon()

    def _next(self) -> Callable[[], None] | None:
        """The next unit of work; waits for one. None when the engine closes."""
        with self._changed:
            while not self._closing and not self._busy_or_waiting():
                self.last_tick = time.monotonic()
                self._changed.wait(IDLE_S)
            self.busy, self.last_tick = not self._closing, time.monotonic()
            if self._closing:
                return None
            optimising = bool(self._arrivals or self._pool)
            if self._queue and not (optimising and self._burst >= BURST):
                self._burst += 1
                return self._forward
            self._burst = 0
            return self._admit if self._arrivals else self._step

    def _busy_or_waiting(self) -> bool:
        return bool(self.busy or self._queue or self._arrivals or self._pool)

    def _admit(self) -> None:
        with self._changed:
            ticket = self._arrivals.popleft()
        self._waits_s.append(time.perf_counter() - ticket.asked_at)
        self._pool.admit(ticket)

    def _step(self) -> None:
        began = time.perf_counter()
        rows = self._pool.step()
        if rows:
            waits_s, self._waits_s = tuple(self._waits_s), []
            self._observe(Tick("optimise", rows, rows, time.perf_counter() - began, waits_s))

    def _forward(self) -> None:
        began = time.perf_counter()
        with self._changed:
            kind = self._queue.next_kind()
            pieces = self._queue.take(kind, self._blocks.rows(kind))
        if not pieces:
            return
        waits_s = tuple(began - request.asked_at for request, first, _ in pieces if first == 0)
        try:
            result, computed = self._within_memory(kind, gathered(pieces))
            rows, seconds = len(next(iter(result.values()))), time.perf_counter() - began
            for request, part in handed_out(pieces, result):
                request.answer.device_s += seconds * len(next(iter(part.values()))) / rows
                request.answer.units += 1
                request.answer.unit_rows += rows
                request.take_in(part)
        except Exception as error:
            self._fail([request for request, _, _ in pieces], error)
            return
        self._observe(Tick("forward", rows, computed, seconds, waits_s))

    def _within_memory(self, kind: Kind, inputs: Tensors) -> tuple[dict[str, Tensor], int]:
        """Run; out of memory, once more in blocks of half the size."""
        try:
            return self._blocks.run(kind, inputs)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if self._graphs is not None:
                self._graphs.clear()
            if not self._blocks.halve(kind):
                raise
        return self._blocks.run(kind, inputs)

    def _fail(self, requests: list[Request], error: Exception) -> None:
        told = EngineOutOfMemory() if is_out_of_memory(error) else error
        for request in dict.fromkeys(requests):
            with self._changed:
                self._queue.drop(request)
            request.fail(told)

    def _abandon(self) -> None:
        with self._changed:
            self._draining = self._closing = True
            requests, tickets = self._queue.clear(), [*self._arrivals, *self._pool.clear()]
            self._arrivals.clear()
        for request in requests:
            request.fail(EngineClosed())
        for ticket in tickets:
            ticket.publish(ended=True, error=EngineClosed())


def _follow(ticket: Ticket, on_step: Callable[[Update], None], check: Callable[[], None]) -> Course:
    """Wait for a ticket, in the thread of its job."""
    seen = 0
    while True:
        check()
        news = ticket.wait(seen, POLL_S)
        if news == seen:
            continue
        seen, ended = news, ticket.ended
        if ticket.error is not None:
            raise ticket.error
        assert ticket.course is not None
        on_step(Update(ticket.course, ticket.device_s, ticket.units, ticket.unit_rows))
        if ended:
            return ticket.course
