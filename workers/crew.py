"""Threads that compute side by side, each on one core.

Several cores do little for a small operator: its threads wait for each other at its end, some hundred times
for a picture. So where there are several things to compute, each gets a core of its own.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

T = TypeVar("T")

SPEEDUP = 0.6  # n cores are taken to compute one thing n ** 0.6 times as fast as one core does


def members(things: int, cores: int) -> int:
    """Among how many threads of one core so many things are best divided; 1: all cores for each in turn.

    That is where the cores that would have nothing to do are more than those that would wait for each other.
    """
    busy = min(things, cores)
    return busy if busy > cores**SPEEDUP else 1


class Crew:
    """`size` threads in which torch has one core each; none at all for a size of 1."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = None if size == 1 else _single_threaded(size)

    def do(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """What the tasks return, once all have ended; the first error among them is raised.

        A single task has all cores, in the thread that calls.
        """
        return [task() for task in tasks] if len(tasks) == 1 else self.apart(tasks)

    def apart(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The same, where a single task has one core, too."""
        if self._threads is None:
            return [task() for task in tasks]
        futures = [self._threads.submit(task) for task in tasks]
        wait(futures)
        return [future.result() for future in futures]

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()


def _single_threaded(size: int) -> ThreadPoolExecutor:
    """torch keeps a number of cores for each thread, from its first look on; one that has not looked yet
    takes the latest that anybody set, so that is put back.
    """
    before, together = torch.get_num_threads(), threading.Barrier(size + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # the first look
        together.wait()

    pool = ThreadPoolExecutor(size, thread_name_prefix="crew", initializer=begin)
    for _ in range(size):
        pool.submit(lambda: None)
    together.wait()
    torch.set_num_threads(before)
    return pool
