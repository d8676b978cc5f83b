"""What a work function gets: one running job with all that it may use."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from jobs import tracing
from jobs.schemas import Kind
from jobs.store import Claim, DirectionSetRow, ModelRow
from workers.blocks import Answer, Op
from workers.context import Context
from workers.engine import Model
from workers.models import LoadedModel, placed
from workers.outbox import Outbox
from workers.reporter import Reporter

Request = TypeVar("Request")
Result = dict[str, Any] | None


@dataclass
class Forwards:
    """The forward passes of one job, as one piece of engine work."""

    began_s: float = 0.0  # epoch seconds; 0 before the first
    ended_s: float = 0.0
    device_s: float = 0.0
    units: int = 0
    unit_rows: int = 0

    def add(self, answer: Answer) -> None:
        self.ended_s = time.time()
        self.device_s += answer.device_s
        self.units += answer.units
        self.unit_rows += answer.unit_rows

    def trace(self) -> None:
        """Tell of them in the trace, with the company that they had."""
        if self.units:
            rows = self.unit_rows / self.units
            tracing.past(
                "engine forward",
                self.began_s,
                self.ended_s,
                units=self.units,
                batch_rows=rows,
                device_s=self.device_s,
            )


@dataclass
class RunningJob(Generic[Request]):
    """Belongs to one thread. `device_s` adds up the engine time that the job's calls took."""

    claim: Claim
    request: Request
    context: Context
    reporter: Reporter
    outbox: Outbox
    device_s: float = 0.0
    forwards: Forwards = field(default_factory=Forwards)
    imported: ModelRow | None = None
    """A model to publish together with the job's success."""
    found: DirectionSetRow | None = None
    """A set of directions to publish together with the job's success."""

    @property
    def tenant(self) -> str:
        return self.claim.row.tenant

    @property
    def kind(self) -> Kind:
        return Kind(self.claim.row.kind)

    def model(self) -> LoadedModel:
        """Raises UnknownModel."""
        return self.context.models.get(self.tenant, self.claim.row.model)

    def submit(self, model: Model, op: Op, inputs: Mapping[str, Tensor]) -> Answer:
        """Have the engine run `op`; tensors in and out are (N, ...), on the CPU."""
        self.forwards.began_s = self.forwards.began_s or time.time()
        return self.context.engine.forward(*placed(model, op), inputs)

    def wait(self, future: Answer) -> Any:
        """The result of `submit`. Raises a `Stop` if the job must end before."""
        result = self.reporter.wait(future)
        self.device_s += future.device_s
        self.forwards.add(future)
        return result

    def forward(self, model: Model, op: Op, inputs: Mapping[str, Tensor]) -> Any:
        return self.wait(self.submit(model, op, inputs))


Work = Callable[[RunningJob[Any]], Result]
