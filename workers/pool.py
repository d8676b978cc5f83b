"""Optimisation of many jobs' samples in shared steps, as language-model servers batch decoding.

Samples whose programs and shapes agree lie in one stack, or in one for each of a crew, and step together.
A stack takes new samples between any two steps and lets them go when they are done, cancelled or diverged.
Kinds take steps in turn, so no job waits for another to end. Only the engine's thread calls the pool; a job's
thread sees its `Ticket`.
"""

import itertools
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from generative.batch import Batch, Tensors
from generative.program import Course, Outcome, Program, Step, advance, start
from workers.crew import Crew, members
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

    def drop_withdrawn(self) -> bool:
        """Whether any samples are left."""
        self.keep([r for r, (ticket, _) in enumerate(self.rows) if not ticket.withdrawn])
        return bool(self.rows)

    def parts(self, sizes: Sequence[int]) -> "list[Stack]":
        """In their order."""
        ends = list(itertools.accumulate(sizes))
        found = [replace(self) for _ in sizes]
        for part, size, end in zip(found, sizes, ends, strict=True):
            part.keep(list(range(end - size, end)))
        return found

    def has_room_for(self, other: "Stack") -> bool:
        return len(self.rows) + len(other.rows) <= min(self.limit, other.limit)

    def tickets(self) -> list[Ticket]:
        return list(dict.fromkeys(ticket for ticket, _ in self.rows))


class Pool:
    """The stacks of one device. Those of one kind step at once, each in a thread of the crew."""

    def __init__(self, max_batch: int, crew: Crew) -> None:
        self._max_batch, self._crew = max_batch, crew
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
        self._arrange()
        if not live:
            ticket.publish(ended=True)

    def step(self) -> int:
        """One step of the stacks whose turn it is. Returns how many samples took it."""
        stacks = [stack for stack in self._turn() if stack.drop_withdrawn()]
        began = time.perf_counter()
        tried = self._crew.do([partial(_advanced, stack) for stack in stacks])
        seconds = time.perf_counter() - began
        taken = []
        for stack, step in zip(stacks, tried, strict=True):
            if isinstance(step, Step):
                taken.append((stack, step))
            else:
                self._failed(stack, step)
        self._take_in(taken, seconds)
        self._arrange()
        return sum(len(step.outcomes) for _, step in taken)

    def _turn(self) -> list[Stack]:
        """The stacks that step next: of one kind, as many as the crew has threads."""
        chosen = [stack for stack in self._stacks if stack.key == self._stacks[0].key][: self._crew.size]
        self._stacks = deque(stack for stack in self._stacks if stack not in chosen)
        return chosen

    def _take_in(self, taken: Sequence[tuple[Stack, Step]], seconds: float) -> None:
        """Tell the jobs, and let go of the samples that are done."""
        tickets = list(dict.fromkeys(ticket for stack, _ in taken for ticket in stack.tickets()))
        together = sum(len(stack.rows) for stack, _ in taken)
        for ticket in tickets:
            ticket.units += 1
            ticket.unit_rows += together
        for stack, step in taken:
            for row, (ticket, i) in enumerate(stack.rows):
                assert ticket.course is not None
                ticket.course.record(i, step, row)
                ticket.device_s += seconds / together
            stack.batch = step.batch
            stack.keep([row for row, outcome in enumerate(step.outcomes) if outcome == Outcome.RUNNING])
            if stack.rows:
                self._stacks.append(stack)
        for ticket in tickets:
            assert ticket.course is not None
            ticket.publish(ended=not ticket.course.live)

    def _failed(self, stack: Stack, error: Exception) -> None:
        """Out of memory: half the stack, once. Anything else is the fault of all that stepped together."""
        half = len(stack.rows) // 2
        if is_out_of_memory(error) and half and stack.limit == self._max_batch:
            sizes = [half, len(stack.rows) - half]
            self._stacks += replace(stack, limit=sizes[1]).parts(sizes)
            return
        for ticket in stack.tickets():
            ticket.withdrawn = True
            ticket.publish(ended=True, error=_told(error))

    def _arrange(self) -> None:
        """Of each kind one stack for each of the crew that is worth it, all about as large; where there is
        memory for fewer rows, only those that fit into one are joined.
        """
        for key in dict.fromkeys(stack.key for stack in self._stacks):
            alike = [stack for stack in self._stacks if stack.key == key]
            total = sum(len(stack.rows) for stack in alike)
            even = _even(total, members(total, self._crew.size))
            better = alike
            if total > min(stack.limit for stack in alike):
                better = _joined_where_they_fit(alike)
            elif [len(stack.rows) for stack in alike] != even:
                better = _joined(alike).parts(even)
            if better == alike:  # and stays in its turn
                continue
            first = self._stacks.index(alike[0])
            others = [stack for stack in self._stacks if stack.key != key]
            self._stacks = deque([*others[:first], *better, *others[first:]])

    def clear(self) -> list[Ticket]:
        tickets = [ticket for stack in self._stacks for ticket in stack.tickets()]
        self._stacks.clear()
        return list(dict.fromkeys(tickets))


def _advanced(stack: Stack) -> Step | Exception:
    try:
        return advance(stack.program, stack.batch)
    except Exception as error:
        return error


def _even(total: int, parts: int) -> list[int]:
    """Sizes of so many parts."""
    return [total // parts + (i < total % parts) for i in range(parts)]


def _joined(stacks: Sequence[Stack]) -> Stack:
    rows = [row for stack in stacks for row in stack.rows]
    return replace(stacks[0], batch=Batch.stack([stack.batch for stack in stacks]), rows=rows)


def _joined_where_they_fit(stacks: Sequence[Stack]) -> list[Stack]:
    kept: list[Stack] = []
    for stack in stacks:
        at = next((at for at, other in enumerate(kept) if other.has_room_for(stack)), None)
        if at is None:
            kept.append(stack)
        else:
            kept[at] = _joined([kept[at], stack])
    return kept


def _shapes(batch: Batch) -> Hashable:
    """What must agree for two batches to be stacked, besides the program."""
    groups = (batch.constants, batch.params)
    return tuple((name, tuple(t.shape[1:]), t.dtype) for group in groups for name, t in sorted(group.items()))


def _told(error: Exception) -> Exception:
    return EngineOutOfMemory() if is_out_of_memory(error) else error
