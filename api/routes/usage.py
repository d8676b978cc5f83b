"""What the caller's tenant used and may use."""

import time

from fastapi import APIRouter, Depends

from api.deps import Store, Submit, Tenant, produces
from jobs.buckets import names_of
from jobs.store import Usage
from jobs.usage import Meter, UsageView
from jobs.views import rfc3339

router = APIRouter(tags=["usage"], dependencies=[Depends(produces("application/json"))])


@router.get("/v1/usage", response_model=UsageView)
def read_usage(tenant: Tenant, store: Store, desk: Submit) -> UsageView:
    """What the tenant of this key uses now and has used today, and how much it may."""
    return _view(tenant, store.usage(tenant), names_of(desk.buckets, tenant))


def _view(tenant: str, found: Usage, buckets: list[str]) -> UsageView:
    limits = found.quotas
    return UsageView(
        tenant=tenant,
        resets_at=rfc3339(round(time.time() + found.resets_in_s)),
        jobs=Meter(used=found.jobs, limit=limits.max_jobs),
        jobs_ended_today=found.jobs_ended,
        images_today=Meter(used=found.images + found.images_held, limit=limits.max_images_per_day),
        images_per_job=limits.max_images_per_job,
        device_s_today=Meter(used=round(found.device_s, 3), limit=limits.max_device_s_per_day),
        device_s_ordered=round(found.device_s_held, 3),
        bytes_ordered=round(found.bytes_held),
        stored_bytes=Meter(used=found.stored_bytes, limit=limits.max_bytes),
        requests_per_minute=limits.max_requests_per_minute,
        buckets=buckets,
    )
