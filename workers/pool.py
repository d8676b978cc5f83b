"""Optimisation of many jobs' samples in shared steps, as language-model servers batch decoding.

Samples whose programs and shapes agree lie in one stack and step together. A stack takes new samples
between any two steps and lets them go when they are done, cancelled or diverged. Stacks take steps in turn,
so no job waits for another to end. Only the engine's thread calls the pool; a job's thread sees its
`Ticket`.
"""

import threading
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

from generative.batch import Batch, Tensors
from generative.program import Course, Outcome, Program, Step, advance, start
from workers.memory import EngineOutOfMemory, is_out_of_memory


@dataclass(eq=False)
class Ticket:
    """One job's samples: handed in by the job's thread, which then waits on it."""

    program: Program
    problems: Tensors
    saved: Tensors | None = None
    course: Course | None = None  # from the moment that the engine has looked at it
    error: Exception | None = None
    asked_at: float = field(default_factory=time.perf_counter)
    device_s: float = 0.0
    units: int = 0  # steps that samples of this ticket took part in
    unit_rows: int = 0  # of those steps: its own samples and the others'
    withdrawn: bool = False  # the job has lost interest
    ended: bool = False
    version: int = 0  # grows with every change
    changed: threading.Condition = field(default_factory=threading.Condition)

    def publish(self, *, ended: bool = False, error: Exception | None = None) -> None:
        with self.changed:
            self.version, self.ended, self.error = self.version + 1, self.ended or ended, self.error or error
            self.changed.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Until there is news after version `seen`, or the time is over. Returns the present version."""
        with self.changed:
            self.changed.wait_for(lambda: self.version != seen, timeout_s)
            return self.version


Row = tuple[Ticket, int]  # a ticket and which of its samples


@dataclass(eq=False)
class Stack:
    key: Hashable
    program: Program
    batch: Batch
    rows: list[Row]
    limit: int  # of rows; halved where memory has ended

    def keep(self, rows: list[int]) -> None:
        self.batch, self.rows = self.batch.select(rows), [self.rows[r] for r in rows]

    def has_room_for(self, other: "Stack") -> bool:
        return self.key == other.key and len(self.rows) + len(other.rows) <= min(self.limit, other.limit)

    def tickets(self) -> list[Ticket]:
        return list(dict.fromkeys(ticket for ticket, _ in self.rows))


class Pool:
    """The stacks of one device."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._stacks: deque[Stack] = deque()  # in order of turn

    def __bool__(self) -> bool:
        return bool(self._stacks)

    def __len__(self) -> int:
        """Tickets that have samples here."""
        return len({id(ticket) for stack in list(self._stacks) for ticket in stack.tickets()})

    def admit(self, ticket: Ticket) -> None:
        """Work out where the ticket's samples stand, and stack them with their like."""
        if ticket.withdrawn:
            return
        try:
            course, batch = start(ticket.program, ticket.problems, ticket.saved)
        except Exception as error:
            ticket.publish(ended=True, error=_told(error))
            return
        ticket.course = course
        key = ticket.program.key, _shapes(batch)
        live, limit = (
            course.live,
            min([s.limit for s in self._stacks if s.key == key], default=self._max_batch),
        )
        for at in range(0, len(live), limit):
            some = live[at : at + limit]
            rows = [(ticket, i) for i in some]
            self._stacks.append(Stack(key, ticket.program, batch.select(some), rows, limit))
        self._merge()
        if not live:
            ticket.publish(ended=True)

    def step(self) -> int:
        """One step of the stack whose turn it is. Returns how many samples took it."""
        stack = self._stacks.popleft()
        stack.keep([r for r, (ticket, _) in enumerate(stack.rows) if not ticket.withdrawn])
        if not stack.rows:
            return 0
        began = time.perf_counter()
        try:
            step = advance(stack.program, stack.batch)
        except Exception as error:
            self._failed(stack, error)
            return 0
        seconds = (time.perf_counter() - began) / len(stack.rows)
        self._take_in(stack, step, seconds)
        return len(step.outcomes)

    def _take_in(self, stack: Stack, step: Step, seconds_each: float) -> None:
        """Tell the jobs, and let go of the samples that are done."""
        tickets = stack.tickets()
        for ticket in tickets:
            ticket.units += 1
            ticket.unit_rows += len(stack.rows)
        for row, (ticket, i) in enumerate(stack.rows):
            assert ticket.course is not None
            ticket.course.record(i, step, row)
            ticket.device_s += seconds_each
        stack.batch = step.batch
        stack.keep([row for row, outcome in enumerate(step.outcomes) if outcome == Outcome.RUNNING])
        if stack.rows:
            self._stacks.append(stack)
        self._merge()
        for ticket in tickets:
            assert ticket.course is not None
            ticket.publish(ended=not ticket.course.live)

    def _failed(self, stack: Stack, error: Exception) -> None:
        """Out of memory: half the stack, once. Anything else is the fault of all that stepped together."""
        half = len(stack.rows) // 2
        if is_out_of_memory(error) and half and stack.limit == self._max_batch:
            for some in (list(range(half)), list(range(half, len(stack.rows)))):
                part = replace(stack, limit=len(stack.rows) - half)
                part.keep(some)
                self._stacks.append(part)
            return
        for ticket in stack.tickets():
            ticket.withdrawn = True
            ticket.publish(ended=True, error=_told(error))

    def _merge(self) -> None:
        """Join stacks that fit into one."""
        kept: list[Stack] = []
        for stack in self._stacks:
            other = next((other for other in kept if other.has_room_for(stack)), None)
            if other is None:
                kept.append(stack)
            else:
                other.batch, other.rows = Batch.stack([other.batch, stack.batch]), other.rows + stack.rows
        self._stacks = deque(kept)

    def clear(self) -> list[Ticket]:
        tickets = [ticket for stack in self._stacks for ticket in stack.tickets()]
        self._stacks.clear()
        return list(dict.fromkeys(tickets))


def _shapes(batch: Batch) -> Hashable:
    """What must agree for two batches to be stacked, besides the program."""
    groups = (batch.constants, batch.params)
    return tuple((name, tuple(t.shape[1:]), t.dtype) for group in groups for name, t in sorted(group.items()))


def _told(error: Exception) -> Exception:
    return EngineOutOfMemory() if is_out_of_memory(error) else error
