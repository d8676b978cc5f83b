"""What a tenant uses and may use, as callers see it."""

from pydantic import BaseModel, ConfigDict


class Meter(BaseModel):
    used: int | float
    limit: int | float | None


class UsageView(BaseModel):
    """Days are those of UTC. A limit that is null does not limit."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    tenant: str
    resets_at: str
    """When what is counted by the day starts afresh."""
    jobs: Meter
    """Queued and running."""
    jobs_ended_today: int
    images_today: Meter
    """Made, and ordered by the jobs that are queued or running."""
    images_per_job: int | None
    """Limit."""
    device_s_today: Meter
    """Of the attempts that ended a job."""
    device_s_ordered: float = 0
    """That datasets and batches in flight are likely to take, where there is a limit."""
    stored_bytes: Meter
    """Outputs, images and imported models."""
    bytes_ordered: int = 0
    """That datasets and batches in flight are likely to store, where there is a limit."""
    requests_per_minute: int | None
    """Limit, for each key."""
    buckets: list[str] = []
    """Of the tenant's own, those that datasets can be written to."""
