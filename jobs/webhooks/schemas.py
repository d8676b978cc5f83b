"""What callers send and get about webhooks. Strict, like the requests of `jobs.schemas`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from jobs.schemas import Strict, WebhookEvents, WebhookUrl, printable

Description = Annotated[str, Field(max_length=256), AfterValidator(printable)]
DeliveryStatus = Literal["pending", "succeeded", "failed"]
MAX_OVERLAP_S = 7 * 86400.0


class NewWebhook(Strict):
    url: WebhookUrl
    events: WebhookEvents = ("finished",)
    description: Description = ""


class WebhookChange(Strict):
    """What is left out stays."""

    url: WebhookUrl | None = None
    events: WebhookEvents | None = None
    description: Description | None = None
    enabled: bool | None = None
    """True also forgives what failed; false gives up what waits."""


class Rotation(Strict):
    overlap_s: Annotated[float, Field(ge=0, le=MAX_OVERLAP_S)] = 86400.0
    """For so long the secret before signs too."""


class WebhookView(BaseModel):
    """`secret` is there only in the answers that make one."""

    id: str
    url: str
    events: list[str]
    description: str
    enabled: bool
    disabled_reason: str | None  # owner, gone (410), failing (for 5 days)
    failing_since: str | None
    created_at: str
    secret: str | None = None


class WebhookList(BaseModel):
    data: list[WebhookView]


class SecretView(BaseModel):
    secret: str
    previous_until: str | None
    """Until then webhooks are signed with the secret before, too."""


class AttemptView(BaseModel):
    number: int
    at: str
    duration_ms: int
    status: int | None
    error: str | None


class DeliveryView(BaseModel):
    id: str
    webhook: str
    event: str  # the `webhook-id` header, the same at every attempt
    type: str
    job: str | None
    url: str | None  # of the job's own webhook
    status: DeliveryStatus
    tries: int
    next_attempt_at: str | None
    error: str | None
    created_at: str
    finished_at: str | None
    attempts: list[AttemptView]


class DeliveryPage(BaseModel):
    data: list[DeliveryView]
    next_cursor: str | None
