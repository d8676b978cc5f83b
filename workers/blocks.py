"""Forward requests of many jobs, cut into blocks of one shape.

The bytes of a picture must not depend on the pictures that are computed beside it. They would: matrix
products and convolutions choose their order of summation by the shape of the whole batch, and on the CPU 32
of 32 pictures of every model tried differed by about 1e-5 between a batch of 1 and one of 16 (torch 2.13,
oneDNN and MKL). What does not change the order is the content of the other rows. So a block has one of few
sizes, padded when fewer rows are wanted, which depend on nothing but the model and the device, and which were
seen to give the same bits: the first block of each kind is preceded by a test, in which random rows must come
out equal from every place of every size. Of the sizes 1, 2, 4, 8, 16 those from 2 on do in the shipped
StyleGAN2, so that a single picture need not pay for 16, nor nine.

On a CPU several blocks are computed side by side, each on one core, if the test says that this gives the same
bits, too (workers/crew.py). A single block has all cores, if they make it faster, and so has one that is
larger than others ever are.

The place in the block mattered in half of the networks with odd channel counts (rows that do not begin at
multiples of 64 bytes), in none with channel counts that are multiples of 16. Where it does, the largest
block is halved, down to one row. Throughput of a 64 pixel generator on two cores, pictures a second by rows
in a block: 1: 266, 2: 377, 4: 547, 8: 673, 16: 761, 32: 640.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from generative.batch import Tensors
from workers.crew import Crew, members
from workers.memory import is_out_of_memory

Op = Callable[[Any, Tensors], Tensor | Tensors]  # network, inputs: (N, ...) to (N, ...), row by row

BARE = ""  # name of the result of an op that returns a tensor and no dict
CPU_PIXELS, CUDA_PIXELS = 2**16, 2**22  # of a block: more rows than this gain nothing
CPU_START, CUDA_START = 2, 64  # rows that could be computed in the time that a block takes beside its rows
ALONE = Crew(1)
TINY = 2**14  # pixels of a block up to which it is tried whether one core is enough for it
TURNS, SLOWER = 3, 1.1


class Network(Protocol):
    @property
    def img_resolution(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Subject:
    """Something else in the place where the engine expects a model: what operations are applied to."""

    generator: Network


class Answer(Future[Tensor | dict[str, Tensor]]):
    """What the op returns, for all rows of the request, on the CPU."""

    device_s: float = 0.0  # this request's share of device time
    units: int = 0  # of device work that rows of this request were in
    unit_rows: int = 0  # of those units: its own rows and the others'


@dataclass(eq=False)
class Request:
    inputs: Tensors
    answer: Answer
    rows: int
    asked_at: float = field(default_factory=time.perf_counter)
    taken: int = 0  # rows that are in a block, or were
    parts: list[dict[str, Tensor]] = field(default_factory=list)  # results so far, in order

    def take_in(self, part: dict[str, Tensor]) -> None:
        """The results of the next rows; with the last ones, the answer is given."""
        self.parts.append(part)
        if sum(len(next(iter(p.values()))) for p in self.parts) < self.rows:
            return
        if self.answer.set_running_or_notify_cancel():
            whole = {name: torch.cat([p[name] for p in self.parts]) for name in part}
            self.answer.set_result(whole[BARE] if BARE in whole else whole)

    def fail(self, error: Exception) -> None:
        if not self.answer.done() and self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


Signature = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]  # name, shape of a row, type
Piece = tuple[Request, int, int]  # rows of a request: the first, and past the last


@dataclass(frozen=True)
class Kind:
    """Requests of one kind may share a block: same network, same op, same shapes."""

    network: Network  # compared by identity
    op: Op
    signature: Signature

    @classmethod
    def of(cls, network: Network, op: Op, inputs: Tensors) -> "Kind":
        signature = sorted((name, tuple(t.shape[1:]), t.dtype) for name, t in inputs.items())
        return cls(network, op, tuple(signature))

    def computed(self, block: Tensors) -> Tensors:
        """What the op makes of (N, ...) on the network's device. Raises ValueError for other than N rows."""
        result = self.op(self.network, block)
        named = {BARE: result} if isinstance(result, Tensor) else result
        if any(t.shape[:1] != next(iter(block.values())).shape[:1] for t in named.values()):
            raise ValueError(f"{self.op} must return as many rows as it was given")
        return named


Compute = Callable[[Kind, Tensors], Tensors]  # as `Kind.computed`


@dataclass(frozen=True)
class Plan:
    """How rows of a kind are computed."""

    sizes: tuple[int, ...]  # rows of blocks, the largest first
    crew: int  # how many of them at most at a time, each on one core; 1: in turn, on all cores
    lone: bool = False  # whether a single small one has one core, too, because all were hardly faster

    @property
    def rows(self) -> int:
        """That are worth taking together."""
        return self.sizes[0] * self.crew

    def shares(self, rows: int) -> list[int]:
        """How many of the rows each of the crew computes; all of them, where one does."""
        blocks = -(-rows // self.sizes[-1])
        each = -(-blocks // members(blocks, self.crew)) * self.sizes[-1]
        return [min(each, rows - at) for at in range(0, rows, each)]

    def blocks(self, rows: int, start: int) -> list[int]:
        """The sizes of the blocks for a share, where one costs `start` rows beside its own."""
        whole, rest = divmod(rows, self.sizes[0])
        return [self.sizes[0]] * whole + (cut(rest, self.sizes, start) if rest else [])


Plans = dict[tuple[Op, Signature], Plan]


class ForwardQueue:
    """Waiting requests. Kinds take turns, and so do the requests of a kind within a block."""

    def __init__(self) -> None:
        self._kinds: dict[Kind, deque[Request]] = {}  # in order of turn

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def add(self, kind: Kind, request: Request) -> None:
        self._kinds.setdefault(kind, deque()).append(request)

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def next_kind(self) -> Kind:
        return next(iter(self._kinds))

    def take(self, kind: Kind, rows: int) -> list[Piece]:
        """Up to `rows` rows, evenly over the requests of a kind, which then goes to the end."""
        waiting = self._kinds.pop(kind)
        pieces: list[Piece] = []
        share = max(1, rows // len(waiting))
        while rows and waiting:
            request = waiting.popleft()
            if request.answer.cancelled():
                continue
            count = min(share, rows, request.rows - request.taken)
            pieces.append((request, request.taken, request.taken + count))
            request.taken, rows = request.taken + count, rows - count
            if request.taken < request.rows:
                waiting.append(request)
        if waiting:
            self._kinds[kind] = waiting
        return pieces

    def drop(self, request: Request) -> None:
        """Forget what is left of a request."""
        for kind, waiting in list(self._kinds.items()):
            if request in waiting:
                waiting.remove(request)
            if not waiting:
                del self._kinds[kind]

    def clear(self) -> list[Request]:
        requests = [request for waiting in self._kinds.values() for request in waiting]
        self._kinds.clear()
        return requests


class BlockRunner:
    """Runs ops in blocks of few sizes."""

    def __init__(
        self, device: torch.device, max_batch: int, crew: Crew, compute: Compute = Kind.computed
    ) -> None:
        """`compute`: blocks that are wanted; what is tried is computed by the op itself."""
        self._device, self._max_batch, self._crew, self._compute = device, max_batch, crew, compute
        self._start = CPU_START if device.type == "cpu" else CUDA_START
        # By op and signature: of networks by what they are made like, for the order of summation follows from
        # shapes alone; of others by themselves, which may be forgotten elsewhere.
        self._alike: dict[tuple[type, Any], Plans] = {}
        self._plans: WeakKeyDictionary[Network, Plans] = WeakKeyDictionary()

    def rows(self, kind: Kind) -> int:
        """How many rows are worth taking together."""
        known = self._plans_of(kind.network).get((kind.op, kind.signature))
        return known.rows if known else self._largest(kind)

    def plan(self, kind: Kind) -> Plan:
        """The first call works it out by running the op."""
        known = self._plans_of(kind.network)
        if (kind.op, kind.signature) not in known:
            known[kind.op, kind.signature] = self._tried(kind)
        return known[kind.op, kind.signature]

    def halve(self, kind: Kind) -> bool:
        """Smaller blocks, and one at a time, from now on, for want of memory: other bytes too, where only one
        size gives these. False if it is one row already.
        """
        plan = self.plan(kind)
        largest, *smaller = plan.sizes
        less = Plan(tuple(smaller) or (max(1, largest // 2),), crew=1)
        self._plans_of(kind.network)[kind.op, kind.signature] = less
        return plan.rows > 1

    def run(self, kind: Kind, inputs: Tensors) -> tuple[dict[str, Tensor], int]:
        """inputs: (n, ...) on the CPU, any n -> (n, ...) on the CPU, and how many rows were computed for it.

        An op's bare tensor is named BARE.
        """
        plan = self.plan(kind)
        shares = plan.shares(len(next(iter(inputs.values()))))
        blocks = [plan.blocks(share, self._start) for share in shares]
        parts = zip(*(inputs[name].split(shares) for name in inputs), strict=True)
        tasks = [
            partial(self._run, kind, dict(zip(inputs, part, strict=True)), sizes)
            for part, sizes in zip(parts, blocks, strict=True)
        ]
        run = self._crew.apart if plan.lone and blocks == [[plan.sizes[-1]]] else self._crew.do
        return joined(run(tasks)), sum(map(sum, blocks))

    def _run(self, kind: Kind, inputs: Tensors, sizes: Sequence[int]) -> dict[str, Tensor]:
        rows, at, done = len(next(iter(inputs.values()))), 0, []
        for size in sizes:
            block = {name: padded(t[at:], size) for name, t in inputs.items()}
            done.append(self._apply(kind, block, self._compute))
            at += size
        return {name: t[:rows] for name, t in joined(done).items()}

    def _plans_of(self, network: Network) -> Plans:
        config = getattr(network, "config", None)
        if config is None:
            return self._plans.setdefault(network, {})
        return self._alike.setdefault((type(network), config), {})

    def _largest(self, kind: Kind) -> int:
        return largest_block(kind.network.img_resolution, self._device, self._max_batch)

    def _tried(self, kind: Kind) -> Plan:
        largest, whole = self._largest(kind), None
        small = largest * kind.network.img_resolution**2 <= CPU_PIXELS  # each has its maps in memory
        crew = self._crew.size if small else 1
        while largest * crew > 1 and (whole := self._steady(kind, largest, ALONE)) is None and largest > 1:
            largest //= 2
        if whole is None or whole.blind:
            return Plan((largest,), crew=1)
        beside = self._steady(kind, largest, self._crew) if crew > 1 else None
        if beside is None or not _equal(beside.seen, whole.seen):
            crew = 1
        crews = (ALONE, self._crew) if crew > 1 else (ALONE,)
        block = _random_block(kind, largest)
        smaller = [s for s in _halves(largest) if all(self._gives(kind, block, s, whole, by) for by in crews)]
        sizes = (largest, *smaller)
        return Plan(sizes, crew, lone=crew > 1 and self._hardly_slower(kind, sizes[-1]))

    def _hardly_slower(self, kind: Kind, size: int) -> bool:
        """Whether one core does a block in little more time than all; others can use the rest then."""
        if size * kind.network.img_resolution**2 > TINY:
            return False
        tasks = [partial(self._apply, kind, _random_block(kind, size))]
        all_s, one_s = [], []
        for _ in range(TURNS):
            all_s.append(_seconds(lambda: self._crew.do(tasks)))
            one_s.append(_seconds(lambda: self._crew.apart(tasks)))
        return min(one_s) < SLOWER * min(all_s)

    def _apply(self, kind: Kind, block: Tensors, compute: Compute = Kind.computed) -> dict[str, Tensor]:
        with torch.no_grad():
            return fetched(compute(kind, {name: t.to(self._device) for name, t in block.items()}))

    def _steady(self, kind: Kind, size: int, crew: Crew) -> "_Trial | None":
        """A trial of a block, if it fits into memory and rows have the same bits in every place of it.

        Each row is compared with itself in the next place: places that differ do not agree on thousands of
        numbers.
        """
        block = _random_block(kind, size)
        rolled = {name: t.roll(1, 0) for name, t in block.items()}
        try:
            still, moved = crew.do([partial(self._trial, kind, given) for given in (block, rolled)])
        except Exception as error:
            if is_out_of_memory(error):
                return None
            raise
        return still if _equal(moved.seen, [t.roll(1, 0) for t in still.seen]) else None

    def _gives(self, kind: Kind, block: Tensors, size: int, whole: "_Trial", crew: Crew) -> bool:
        """Whether blocks of that size have the bits of the `whole` block, in every place."""
        places = range(0, len(next(iter(block.values()))), size)
        pieces = [{name: padded(t[at:], size) for name, t in block.items()} for at in places]
        tried = crew.do([partial(self._trial, kind, piece) for piece in pieces])
        return _equal([torch.cat(parts) for parts in zip(*(t.seen for t in tried), strict=True)], whole.seen)

    def _trial(self, kind: Kind, block: Tensors) -> "_Trial":
        with _Rounding() as rounding:
            given = list(self._apply(kind, block).values())
        bytes_given = any(not t.is_floating_point() for t in given)
        return _Trial([*rounding.seen, *given], bytes_given and not rounding.seen)


@dataclass(frozen=True)
class _Trial:
    """What an op gave, and what it turned into bytes as it was before: bytes hide most small differences, but
    not all. `blind` if that could not be seen.
    """

    seen: list[Tensor]
    blind: bool


class _Rounding(TorchDispatchMode):
    """Keeps the tensors that are turned into bytes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") is torch.uint8:
            self.seen.append(args[0].detach().to("cpu", copy=True))
        return func(*args, **(kwargs or {}))


def _equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """To the bit; where one has no number, so has the other."""
    return all(
        a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
        for a, b in zip(some, others, strict=True)
    )


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _halves(largest: int) -> list[int]:
    """largest / 2, / 4, ... 1."""
    return [largest >> k for k in range(1, largest.bit_length())]


def _random_block(kind: Kind, size: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = ((name, (size, *shape), dtype) for name, shape, dtype in kind.signature)
    return {name: torch.randn(shape, generator=rng).to(dtype) for name, shape, dtype in shapes}


def largest_block(resolution: int, device: torch.device, max_batch: int) -> int:
    """Rows of a block by the size of the picture: a power of two, at most `max_batch`."""
    pixels = CPU_PIXELS if device.type == "cpu" else CUDA_PIXELS
    rows = max(1, min(pixels // resolution**2, 16 if device.type == "cpu" else max_batch, max_batch))
    return 1 << (rows.bit_length() - 1)


def cut(rows: int, sizes: Sequence[int], start: int) -> list[int]:
    """The cheapest blocks for up to sizes[0] rows, where a block costs `start` rows beside its own."""
    one, smaller = [min(size for size in sizes if size >= rows)], [size for size in sizes if size < rows]
    if not smaller:
        return one
    several = [smaller[0], *cut(rows - smaller[0], sizes, start)]
    return min(one, several, key=lambda blocks: sum(blocks) + start * len(blocks))


def padded(t: Tensor, rows: int) -> Tensor:
    """The first `rows` of t, filled up with its first row: always a fresh tensor of the same strides."""
    block = t.new_empty((rows, *t.shape[1:]))
    some = t[:rows]
    block[: len(some)] = some
    block[len(some) :] = t[:1]
    return block


def fetched(tensors: Tensors) -> dict[str, Tensor]:
    """The same on the CPU; from CUDA by way of page-locked memory, with one wait for all."""
    if not any(t.is_cuda for t in tensors.values()):
        return {name: t.cpu() for name, t in tensors.items()}
    here = {name: torch.empty_like(t, device="cpu", pin_memory=True) for name, t in tensors.items()}
    for name, t in tensors.items():
        here[name].copy_(t, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return here


def joined(parts: Sequence[Tensors]) -> dict[str, Tensor]:
    """One after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def gathered(pieces: list[Piece]) -> dict[str, Tensor]:
    """The rows of the pieces, one after the other."""
    names = pieces[0][0].inputs
    return {name: torch.cat([request.inputs[name][a:b] for request, a, b in pieces]) for name in names}


def handed_out(pieces: list[Piece], result: Tensors) -> Iterator[tuple[Request, dict[str, Tensor]]]:
    """The rows of a result, back to the requests that they came from."""
    at = 0
    for request, first, last in pieces:
        count = last - first
        yield request, {name: t[at : at + count] for name, t in result.items()}
        at += count
