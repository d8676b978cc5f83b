"""What a job is: the words that callers, gateway and workers share.

Requests are strict: a field that is not listed is refused, `"3"` is not 3 and `true` is not 1. They are
parsed from JSON text (`submit_adapter.validate_json`) and stored with every default filled in, so that a row
says exactly what was run.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from jobs.batches import BatchInput
from jobs.dataset import DatasetInput, ShardInput, SummaryInput
from jobs.discovery import DirectionsInput, DiscoverInput
from jobs.editing import EditInput
from jobs.evaluation import EvaluateInput
from jobs.inversion import Inversion
from jobs.sources import Source
from jobs.words import ClassRef, ImageId, Layers, Name, Psi, Seed, Sha256Hex, Strict, Text, printable

PAYLOAD_VERSION = 4  # in every message and row; a worker that does not know a version releases the job


class Status(StrEnum):
    QUEUED = "queued"  # accepted; no worker has it
    RUNNING = "running"  # a worker holds its lease
    SUCCEEDED = "succeeded"  # its outputs are published
    FAILED = "failed"  # the error says why
    CANCELED = "canceled"  # by the caller
    EXPIRED = "expired"  # its deadline passed before a worker claimed it

    @property
    def terminal(self) -> bool:
        return self not in (Status.QUEUED, Status.RUNNING)


class Kind(StrEnum):
    GENERATE = "generate"
    INVERT = "invert"
    EDIT = "edit"
    EVALUATE = "evaluate"
    DISCOVER = "discover"
    IMPORT = "import"
    DATASET = "dataset"
    SHARD = "shard"
    BATCH = "batch"
    SUMMARY = "summary"


PARENTS = (Kind.DATASET, Kind.BATCH)
"""Kinds that hold no worker: they are done in parts, each a job of its own."""


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


# --- inputs, one model for each kind ---------------------------------------------------------------------


class Mixing(Strict):
    """Style mixing: picture (r, c) takes `layers` from the column's latent, the rest from the row's."""

    rows: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=32)]
    columns: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=32)]
    layers: Layers


class Interpolate(Strict):
    """Frames along a path through the source's latents, in the order given."""

    frames: Annotated[int, Field(ge=2, le=600)] = 60
    mode: Literal["linear", "slerp"] = "linear"
    """linear moves through W, or through Z where there is no W; slerp on the sphere of Z."""
    loop: bool = False


class GenerateInput(Strict):
    source: Source = Source(seeds=(0,))
    psi: Psi = 0.7
    """Truncation: 1 is none, 0 the average picture. It acts on latents that come from Z; families without
    truncation take no other value than 1, and do not mind the default."""
    cutoff: Annotated[int, Field(ge=0, le=64)] | None = None
    """Truncate only the first `cutoff` layers."""
    class_index: Annotated[ClassRef | None, Field(alias="class")] = None
    """For a model with classes: the index or the name of one."""
    lod: Annotated[float, Field(ge=0, le=12)] | None = None
    """Levels of detail to leave out, for progressively grown models; fractions blend two levels."""
    noise: Literal["const", "random", "none"] = "const"
    noise_seed: Seed = 0
    mixing: Mixing | None = None
    interpolate: Interpolate | None = None

    @model_validator(mode="after")
    def _one_path(self) -> "GenerateInput":
        if self.source.images is not None:
            raise ValueError("generate takes seeds, latents or an artifact; invert or edit takes images")
        if self.mixing is not None and self.interpolate is not None:
            raise ValueError("give mixing or interpolate, not both")
        return self


class InvertInput(Inversion):
    images: Annotated[tuple[ImageId, ...], Field(min_length=1, max_length=16)]
    preview_every: Annotated[int, Field(ge=0, le=5000)] = 20
    """Steps between previews; 0 for none."""


class ImportInput(Strict):
    """Made by `POST /v1/models`, never sent by a caller."""

    upload: Annotated[str, Field(max_length=256)]
    """Key of the quarantined file."""
    sha256: Sha256Hex
    licence: Text | None = None


class OutputOptions(Strict):
    format: Literal["png", "jpeg", "webp", "npz"] = "png"
    quality: Annotated[int, Field(ge=1, le=100)] = 90
    """For jpeg and webp."""
    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Resize the longer side to this many pixels."""
    grid: bool = False
    """Also one picture with all of them; always made for sweeps and mixing."""
    film: Literal["mp4", "webp"] = "mp4"
    """Format of the film that an interpolation makes."""
    latents: Literal["none", "z", "w", "w+", "s", "p", "p+"] = "none"
    """Also a safetensors file with the latents in this space."""
    inline: bool = False
    """Put outputs of up to 1 MiB in all into the answer, as base64."""


class DatasetOutput(OutputOptions):
    bucket: Name | None = None
    """A bucket of the tenant's to write to, by its name with the service; left out, the service's."""


# --- requests --------------------------------------------------------------------------------------------

MetadataKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
MetadataValue = Annotated[str, Field(max_length=512), AfterValidator(printable)]


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("must name each event once")
    return names


WebhookEvent = Literal["started", "output", "finished"]
WebhookUrl = Annotated[str, Field(min_length=1, max_length=16384)]  # its own rules say what is wrong with it
WebhookEvents = Annotated[tuple[WebhookEvent, ...], Field(min_length=1, max_length=3), AfterValidator(_once)]


class JobWebhook(Strict):
    """Whom to tell of this job alone."""

    url: WebhookUrl
    events: WebhookEvents = ("finished",)


class Envelope(Strict):
    model: Name
    output: OutputOptions = OutputOptions()
    priority: Priority = Priority.NORMAL
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86400)] | None = None
    """The job expires unless a worker has claimed it by then."""
    timeout_s: Annotated[float, Field(gt=0, le=86400)] = 600
    """Run time after which the job fails with `timeout`."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = {}  # noqa: RUF012
    webhook: JobWebhook | None = None


class GenerateRequest(Envelope):
    kind: Literal[Kind.GENERATE]
    input: GenerateInput = GenerateInput()


class InvertRequest(Envelope):
    kind: Literal[Kind.INVERT]
    input: InvertInput


class EditRequest(Envelope):
    kind: Literal[Kind.EDIT]
    input: EditInput


class EvaluateRequest(Envelope):
    kind: Literal[Kind.EVALUATE]
    input: EvaluateInput = EvaluateInput()


class DirectionsRequest(Envelope):
    """Found in the model, or brought for it."""

    kind: Literal[Kind.DISCOVER]
    input: DirectionsInput


class DiscoverRequest(DirectionsRequest):
    input: DiscoverInput


class ImportRequest(Envelope):
    kind: Literal[Kind.IMPORT]
    input: ImportInput


class DatasetRequest(Envelope):
    kind: Literal[Kind.DATASET]
    input: DatasetInput
    output: DatasetOutput = DatasetOutput()


class ShardRequest(Envelope):
    """A part of a dataset."""

    kind: Literal[Kind.SHARD]
    input: ShardInput


class BatchRequest(Envelope):
    kind: Literal[Kind.BATCH]
    input: BatchInput


class SummaryRequest(Envelope):
    """The last part of a dataset or batch, which tells of the others."""

    kind: Literal[Kind.SUMMARY]
    input: SummaryInput


AnySubmitted = (
    GenerateRequest | InvertRequest | EditRequest | EvaluateRequest | DiscoverRequest | DatasetRequest
)
AnyRequest = (
    GenerateRequest
    | InvertRequest
    | EditRequest
    | EvaluateRequest
    | DirectionsRequest
    | ImportRequest
    | DatasetRequest
    | ShardRequest
    | BatchRequest
    | SummaryRequest
)
SubmitRequest = Annotated[AnySubmitted, Field(discriminator="kind")]
"""What a caller may post."""
JobRequest = Annotated[AnyRequest, Field(discriminator="kind")]
"""What may stand in a row."""

_QUIET = ConfigDict(hide_input_in_errors=True)  # an error's text is logged, and what callers wrote is not
submit_adapter: TypeAdapter[AnySubmitted] = TypeAdapter(SubmitRequest, config=_QUIET)
request_adapter: TypeAdapter[AnyRequest] = TypeAdapter(JobRequest, config=_QUIET)


# --- answers ---------------------------------------------------------------------------------------------


class Progress(BaseModel):
    value: float = Field(default=0, ge=0, le=1)
    step: int | None = None
    steps: int | None = None
    message: str | None = None
    eta_s: float | None = None


class JobError(BaseModel):
    code: str
    detail: str


class Output(BaseModel):
    """One published file of a job."""

    name: str
    role: str  # image, grid, film, latents, plot, reconstruction, original, preview, array
    index: int = 0
    media_type: str
    size_bytes: int
    sha256: str
    url: str | None = None
    url_expires_at: str | None = None
    base64: str | None = None
    about: dict[str, Any] = {}


class JobUrls(BaseModel):
    self: str
    events: str
    cancel: str
    retry: str


class JobView(BaseModel):
    """A job as a caller sees it (API.md)."""

    id: str
    kind: str
    model: str
    status: Status
    terminal: bool
    seq: int
    cancel_requested: bool
    input: dict[str, Any]
    output: dict[str, Any]
    metadata: dict[str, str]
    priority: Priority
    progress: Progress
    outputs: list[Output]
    result: dict[str, Any] | None
    error: JobError | None
    attempts: int
    metrics: dict[str, float]
    parent: str | None = None
    """The dataset or batch that the job is a part of."""
    parts: dict[str, int] | None = None
    """Of a dataset or batch: how many of its parts there are, by status."""
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str | None
    urls: JobUrls


class JobPage(BaseModel):
    data: list[JobView]
    next_cursor: str | None


class ImageView(BaseModel):
    id: str
    width: int
    height: int
    media_type: str
    size_bytes: int
    sha256: str
    created_at: str
    url: str


class Problem(BaseModel):
    """RFC 9457 problem document; `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None
