"""Where plain forward work runs: on a backend instead of torch, if the model has a faster one.

A `Runtime` takes a generator's place in the engine, for the operations that a backend knows: z to ws, ws to
styles, codes to pictures. Hooks, levels of detail, tuned generators and gradients never come here.

A backend that fails is said, counted, and left alone for a while: torch does its work, block by block. Its
pictures then differ by the rounding that the record of the export states.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from generative.backend import Backend, BackendError
from generative.backends.onnx import open_onnx
from generative.backends.torch import PreparedBackend
from generative.backends.triton import open_triton
from generative.batch import Tensors
from generative.cards import Card
from generative.export.record import RECORD, read_record
from generative.generator import Generator
from generative.networks import stylegan2
from workers.blocks import Op
from workers.metrics import BACKEND_BLOCKS, BACKEND_FALLBACKS
from workers.work import painting

logger = logging.getLogger(__name__)

PAUSE_S = 30.0  # how long a backend that failed is left alone


class Runtime:
    """A generator whose plain paths a backend runs."""

    def __init__(
        self, generator: Generator, backend: Backend, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.generator, self.backend, self._now = generator, backend, now
        self.img_resolution = generator.img_resolution
        self._away_until = float("-inf")

    def run(self, op: Op, inputs: Tensors) -> Tensor | Tensors:
        """As `op(generator, inputs)`. Raises MemoryError: fewer rows may fit."""
        if self._now() < self._away_until:
            return self._in_torch(op, inputs, "paused")
        try:
            result = on_backend(self.backend, op, inputs)
        except MemoryError:
            self.backend.unload()  # arenas only grow
            raise
        except BackendError as error:
            self._away_until = self._now() + PAUSE_S
            logger.warning("the backend %s failed, torch takes over: %s", self.backend.name, error)
            return self._in_torch(op, inputs, "error")
        BACKEND_BLOCKS.labels(self.backend.name).inc()
        return result

    def close(self) -> None:
        self.backend.unload()

    def _in_torch(self, op: Op, inputs: Tensors, reason: str) -> Tensor | Tensors:
        BACKEND_FALLBACKS.labels(self.backend.name, reason).inc()
        return op(self.generator, inputs)


@dataclass(frozen=True)
class Elsewhere:
    """An op that a runtime takes in place of a generator."""

    op: Op

    def __call__(self, runtime: Runtime, inputs: Tensors) -> Tensor | Tensors:
        return runtime.run(self.op, inputs)


def is_plain(op: Op) -> bool:
    """Whether a backend knows the op."""
    if isinstance(op, painting.Paint):
        return op == painting.Paint(op.noise, psi=op.psi)  # nothing else is asked for
    return op in (painting.map_z, painting.style_rows)


def on_backend(backend: Backend, op: Op, inputs: Tensors) -> Tensor:
    """What `op` does with a generator, by a backend. Raises BackendError, MemoryError, ValueError."""
    if op is painting.map_z:
        return backend.map(inputs["z"], inputs.get("c"), inputs["psi"])
    if op is painting.style_rows:
        return backend.styles(inputs["ws"])
    assert isinstance(op, painting.Paint)
    noises = {n.removeprefix(painting.NOISE): t for n, t in inputs.items() if n.startswith(painting.NOISE)}
    codes = {name: value for name, value in inputs.items() if not name.startswith(painting.NOISE)}
    if (psi := codes.pop("psi", None)) is not None:
        codes = {"ws": backend.map(codes["z"], codes.get("c"), psi)}
    return backend.paint(codes, op.noise, noises, op.psi)


@dataclass(frozen=True)
class Place:
    """What a model's runtime is chosen from."""

    wanted: str  # of `jobs.settings.BACKENDS`
    folder: Path
    device: torch.device
    triton_address: str | None = None


def open_runtime(generator: Generator, card: Card, place: Place) -> Runtime | None:
    """The backend that is wanted, or the fastest that the model has; None for torch."""
    wanted = fastest(place) if place.wanted == "auto" else place.wanted
    if wanted == "torch":
        return None
    try:
        backend = _open(wanted, generator, card, place)
    except BackendError as error:
        BACKEND_FALLBACKS.labels(wanted, "missing").inc()
        logger.warning("%s has no backend %s, torch takes over: %s", card.name, wanted, error)
        return None
    logger.info("%s is painted by %s on %s", card.name, backend.name, backend.where)
    return Runtime(generator, backend)


def fastest(place: Place) -> str:
    """By what is there and what its exporter measured, so that a restart chooses the same.

    A server that someone has named comes first. On CUDA the exporter's rates, which are a CPU's, say nothing:
    torch stays, unless another is asked for.
    """
    if place.triton_address and (place.folder / "triton" / RECORD).is_file():
        return "triton"
    if place.device.type == "cpu" and (place.folder / "onnx" / RECORD).is_file():
        rates = read_record(place.folder / "onnx").pictures_per_s
        if rates.get("onnx", 0) > rates.get("torch", 0):
            return "onnx"
    return "torch"


def _open(name: str, generator: Generator, card: Card, place: Place) -> Backend:
    if name.startswith("prepared"):
        if not isinstance(generator, stylegan2.Generator):
            raise BackendError(f"only StyleGAN2 is prepared, and {card.name} is {card.network}")
        dtype = torch.bfloat16 if name.endswith("bf16") else torch.float32
        return PreparedBackend(generator, dtype)
    _refuse_unlike(place.folder / name, card)
    if name == "onnx":
        return open_onnx(place.folder / name, place.device)
    if place.triton_address is None:
        raise BackendError("GANSERVE_TRITON_ADDRESS is not set")
    return open_triton(place.folder / name, place.triton_address)


def _refuse_unlike(folder: Path, card: Card) -> None:
    """Raises BackendError if there is no export, or one of other weights."""
    try:
        record = read_record(folder)
    except (FileNotFoundError, ValueError) as error:
        raise BackendError(f"no export: ganserve export {card.name} --to {folder.name}") from error
    if record.model_sha256 != card.sha256:
        raise BackendError("the export is of other weights: export the model again")
