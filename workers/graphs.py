"""Blocks whose kernels are recorded once and then launched together, as a CUDA graph.

A block of a small generator is some hundred kernels, which a GPU may run faster than Python can launch them
one by one. So what came a few times is recorded: every kernel, with the addresses that it reads and writes.
From then on inputs are copied to where the recording reads them, and all is launched at once.

A recording knows nothing of Python. What an op decides by numbers that it asked back, or brings along from
the CPU, cannot be in it, and a device refuses to record that. Before a recording is used it is held to the op
itself, with other numbers than it was made of. Where one cannot be made, for want of memory perhaps, or
differs, the op runs as ever; the log says so, and `ganserve_engine_graphs_total` counts.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from generative.batch import Tensors
from workers.blocks import Kind
from workers.metrics import GRAPHS

logger = logging.getLogger(__name__)

WORTH = 3  # times that a block is computed before it is recorded
KEPT = 32  # kinds of blocks of one network; the one used longest ago leaves

Launch = Callable[[], object]


class Recorder(Protocol):
    """A device that can record what it is asked to compute."""

    def __call__(self, run: Callable[[], object]) -> Launch:
        """Run it, record it, and return what does the same again on the same tensors.

        Raises RuntimeError for what cannot be recorded.
        """


class CudaRecorder:
    """CUDA's graphs. They share a pool of memory, so a result is good until the next launch."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], object]) -> Launch:
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):  # libraries allocate at their first call on a stream
            run()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:  # other threads may read results from the device meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"):
                run()
        finally:
            torch.cuda.set_stream(here)  # which torch leaves undone when it fails
        launch: Launch = graph.replay
        return launch


@dataclass(frozen=True)
class Recording:
    inputs: Tensors  # where it reads, on the device
    outputs: Tensors  # where it writes
    launch: Launch

    def __call__(self, block: Tensors) -> Tensors:
        for name, value in block.items():
            self.inputs[name].copy_(value)
        self.launch()
        return self.outputs


@dataclass
class Entry:
    """What is known of a kind of block."""

    seen: int = 0
    recording: Recording | None = None


class Graphs:
    """Computes blocks, recorded ones by their recording. For one thread."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._known: WeakKeyDictionary[Any, OrderedDict[Any, Entry]] = WeakKeyDictionary()

    def computed(self, kind: Kind, block: Tensors) -> Tensors:
        """As `kind.computed(block)`. The result is good until the next call."""
        known = self._known.setdefault(kind.network, OrderedDict())
        key = kind.op, kind.signature, len(next(iter(block.values())))
        entry = known.setdefault(key, Entry())
        known.move_to_end(key)
        if len(known) > KEPT:
            known.popitem(last=False)
        entry.seen += 1
        if entry.seen == WORTH:
            entry.recording = _recorded(kind, block, self._recorder)
        if entry.recording is None:
            return kind.computed(block)
        GRAPHS.labels("launched").inc()
        return entry.recording(block)

    def clear(self) -> None:
        """Give back the memory of all recordings."""
        self._known.clear()


def _recorded(kind: Kind, block: Tensors, recorder: Recorder) -> Recording | None:
    """A recording that gives the bits of the op; None where there is none."""
    expected = kind.computed(block)
    inputs = {name: torch.zeros_like(t) for name, t in block.items()}
    outputs: dict[str, Tensor] = {}
    try:
        launch = recorder(lambda: outputs.update(kind.computed(inputs)))
        recording = Recording(inputs, outputs, launch)
        found = recording(block)
        same = all(torch.equal(found[name], expected[name]) for name in expected)
    except RuntimeError as error:  # also for want of memory, which the op itself may have enough of
        GRAPHS.labels("refused").inc()
        logger.warning("%s cannot be recorded, and runs kernel by kernel: %s", kind.op, str(error)[:200])
        return None
    GRAPHS.labels("recorded" if same else "differs").inc()
    if not same:
        logger.error("the recording of %s differs from it, and is not used", kind.op)
    return recording if same else None
