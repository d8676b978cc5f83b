"""From a caller's JSON to a recorded job: parse, check against the model and what it refers to, record."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.body import parse_json
from api.metrics import Metrics
from api.problems import invalid
from jobs import fit, tracing
from jobs.buckets import Buckets, refuse_unknown
from jobs.cards import Card
from jobs.catalog import Catalog
from jobs.editing import EditInput, StructureOperation, SwapLayersOperation, image_of
from jobs.errors import NotFound, UnknownArtifact, UnknownImage
from jobs.estimates import Asked, Estimate, Needs, Past, estimate, media_type, needs
from jobs.evaluation import EvaluateInput, Pictures
from jobs.fit import pictures
from jobs.fit_edits import check_lineage
from jobs.inversion import MaskDegradation
from jobs.schemas import DatasetRequest, InvertRequest, JobRequest, submit_adapter
from jobs.settings import Settings
from jobs.sources import ArtifactRef, Source
from jobs.store import JobRow, JobStore
from jobs.webhooks.target import Rules
from jobs.words import MIN_PICTURES

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Desk:
    """Where jobs are handed in. Its methods block."""

    store: JobStore
    catalog: Catalog
    metrics: Metrics
    settings: Settings
    rules: Rules
    buckets: Buckets = field(default_factory=dict)

    def submit(self, tenant: str, raw: bytes, key: str | None) -> tuple[JobRow, bool]:
        """The job in `raw` and True; or, for a key that was used with the same job, that job and False."""
        with self.metrics.submit_seconds.time():
            request = self.checked(tenant, parse(raw))
            return self.record(tenant, self._with_target(request), key)

    def checked(self, tenant: str, request: JobRequest) -> JobRequest:
        """The request with every default filled in, if it can be carried out. Raises BadRequest."""
        card = self.catalog.get(tenant, request.model)
        request = fit.completed(request, card)
        self._check(tenant, request, card)
        return request

    def record(
        self,
        tenant: str,
        request: JobRequest,
        key: str | None,
        *,
        body_hash: str | None = None,
        asked: Asked | None = None,
    ) -> tuple[JobRow, bool]:
        """Write the row. Raises QueueFull and IdempotencyKeyReused. `body_hash`: left out, the request's.
        `asked`: what it is likely to need, beside its pictures; left out, that of a dataset.
        """
        if isinstance(request, DatasetRequest):
            asked = self.asked(tenant, [request])
        if body_hash is None:
            body_hash = hashlib.sha256(request.model_dump_json(by_alias=True).encode()).hexdigest()
        with tracing.span("submit", job_kind=request.kind, model=request.model) as span:
            row, created = self.store.submit(
                tenant,
                request,
                idempotency_key=key,
                body_hash=body_hash,
                max_queued=self.settings.max_queued,
                traceparent=tracing.traceparent(),
                asked=asked,
            )
            span.set(job=row.id)
        if created:
            self.metrics.submitted.labels(row.kind, row.priority.value).inc()
        return row, created

    def asked(self, tenant: str, requests: Sequence[JobRequest]) -> Asked:
        """What checked requests need together, once it is known what others took."""
        known = [(request, self.catalog.get(tenant, request.model)) for request in requests]

        def together(past: Past) -> Needs:
            seen = cache(past)
            each = (needs(request, card, seen(request.model, media_type(request))) for request, card in known)
            return sum(each, Needs(0))

        return together

    def estimate(self, tenant: str, raw: bytes) -> Estimate:
        """What the job in `raw` would take. Raises as `submit` does, except for quotas."""
        request = self.checked(tenant, parse(raw))
        card = self.catalog.get(tenant, request.model)
        seen = self.store.measured(tenant, request.model, media_type(request))
        large = isinstance(request, DatasetRequest)
        asked = needs(request, card, seen) if large else Needs(pictures(request))
        return estimate(
            request,
            card,
            seen,
            hour_price=self.settings.device_hour_price,
            refused=self.store.refusal(tenant, asked),
        )

    def _check(self, tenant: str, request: JobRequest, card: Card) -> None:
        if isinstance(request, DatasetRequest) and request.output.bucket is not None:
            refuse_unknown(self.buckets, tenant, request.output.bucket)
        self.catalog.check(request, card)
        source = None if isinstance(request, InvertRequest) else getattr(request.input, "source", None)
        images = getattr(request.input if source is None else source, "images", None)
        for image in images or ():
            self._check_image(tenant, image)
        degradation = getattr(getattr(request.input, "inversion", request.input), "degradation", None)
        if isinstance(degradation, MaskDegradation):
            self._check_image(tenant, degradation.image)
        if isinstance(source, Source) and source.artifact is not None:
            self._check_artifact(tenant, source.artifact)
        if isinstance(request.input, EditInput):
            self._check_operations(tenant, request.model, request.input)
        if isinstance(request.input, EvaluateInput) and isinstance(request.input.reference, Pictures):
            self._check_pictures(tenant, request.input.reference)

    def _check_operations(self, tenant: str, model: str, wanted: EditInput) -> None:
        """What the operations of an edit refer to: pictures, latents, other models."""
        for operation in wanted.operations:
            for mask in operation.masks:
                if (image := image_of(mask)) is not None:
                    self._check_image(tenant, image)
            for source in operation.sources:
                if source.artifact is not None:
                    self._check_artifact(tenant, source.artifact)
        for i, operation in enumerate(wanted.operations):
            if isinstance(operation, SwapLayersOperation | StructureOperation):
                cards = self.catalog.get(tenant, model), self.catalog.get(tenant, operation.model)
                check_lineage(*cards, f"input.operations[{i}].model")

    def _check_pictures(self, tenant: str, wanted: Pictures) -> None:
        for image in wanted.images or ():
            self._check_image(tenant, image)
        if wanted.job is not None:
            outputs = self._job(tenant, wanted.job).outputs
            count = sum(output.role == "image" and not output.gone for output in outputs)
            if count < MIN_PICTURES:
                raise UnknownArtifact(f"The job {wanted.job} has {count} pictures, not {MIN_PICTURES}.")

    def _with_target(self, request: JobRequest) -> JobRequest:
        """Its webhook's URL, if it has one, checked and in its one spelling."""
        if request.webhook is None:
            return request
        url = self.rules.register(request.webhook.url).url
        return request.model_copy(update={"webhook": request.webhook.model_copy(update={"url": url})})

    def _check_image(self, tenant: str, image: str) -> None:
        try:
            self.store.get_image(tenant, image)
        except NotFound:
            raise UnknownImage(f"There is no image {image}; POST /v1/images uploads one.") from None

    def _check_artifact(self, tenant: str, wanted: ArtifactRef) -> None:
        row = self._job(tenant, wanted.job)
        found = next((output for output in row.outputs if output.name == wanted.name), None)
        if found is None:
            raise UnknownArtifact(f"The job {wanted.job} ({row.status}) has no output {wanted.name}.")
        if found.gone:
            raise UnknownArtifact(f"The output {wanted.name} was removed when its retention ended.")

    def _job(self, tenant: str, job_id: str) -> JobRow:
        try:
            return self.store.get(tenant, job_id)
        except NotFound:
            raise UnknownArtifact(f"There is no job {job_id}.") from None


def parse(raw: bytes) -> JobRequest:
    """The request in `raw`. Raises a 400 or 422 problem."""
    given = parse_json(raw)
    try:
        return submit_adapter.validate_json(raw)
    except ValidationError as error:
        errors = {(loc := _as_written(e, given)): {**e, "loc": loc} for e in reversed(error.errors())}
        raise invalid(list(reversed(errors.values()))) from None


def read(model: type[Body], raw: bytes) -> Body:
    """A body of one form. Raises a 400 or 422 problem."""
    parse_json(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error.errors(include_input=False)) from None


def _as_written(error: ErrorDetails, given: Any) -> tuple[int | str, ...]:
    """Where the error is in what the caller wrote; pydantic's path also names the branches of unions.

    Of the branches' errors the first stays, which is the form that the documentation shows.
    """
    path = []
    for depth, part in enumerate(error["loc"], 1):
        inside = (
            part in given if isinstance(given, dict) else isinstance(given, list) and isinstance(part, int)
        )
        if inside:
            given = given[part]
        if inside or (error["type"] == "missing" and depth == len(error["loc"])):
            path.append(part)
    return tuple(path)
