"""What a work function gets: one running job with all that it may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from jobs.schemas import Kind
from jobs.store import Claim, ModelRow
from workers.blocks import Answer, Op
from workers.context import Context
from workers.engine import Model
from workers.models import LoadedModel
from workers.outbox import Outbox
from workers.reporter import Reporter

Request = TypeVar("Request")
Result = dict[str, Any] | None


@dataclass
class RunningJob(Generic[Request]):
    """Belongs to one thread. `device_s` adds up the engine time that the job's calls took."""

    claim: Claim
    request: Request
    context: Context
    reporter: Reporter
    outbox: Outbox
    device_s: float = 0.0
    imported: ModelRow | None = None
    """A model to publish together with the job's success."""

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
        return self.context.engine.forward(model, op, inputs)

    def wait(self, future: Answer) -> Any:
        """The result of `submit`. Raises a `Stop` if the job must end before."""
        result = self.reporter.wait(future)
        self.device_s += future.device_s
        return result

    def forward(self, model: Model, op: Op, inputs: Mapping[str, Tensor]) -> Any:
        return self.wait(self.submit(model, op, inputs))


Work = Callable[[RunningJob[Any]], Result]
