"""What a tenant's latest jobs with a model took, for estimates."""

from sqlalchemy import Connection, and_, func, select

from jobs.estimates import Measured
from jobs.schemas import Kind, Status
from jobs.store.tables import jobs, outputs

LATEST = 50  # jobs that are looked at


def measured(connection: Connection, tenant: str, model: str, media_type: str) -> Measured:
    """Shards tell more than single jobs, so they come first where there are any."""
    device_s = _device_s(connection, tenant, model, Kind.SHARD)
    if device_s is None:
        device_s = _device_s(connection, tenant, model, Kind.GENERATE)
    return Measured(device_s, _bytes(connection, tenant, model, media_type))


def _device_s(connection: Connection, tenant: str, model: str, kind: Kind) -> float | None:
    made = select(func.count()).where(
        outputs.c.tenant == jobs.c.tenant, outputs.c.job_id == jobs.c.id, outputs.c.role == "image"
    )
    pictures = jobs.c.size if kind is Kind.SHARD else made.scalar_subquery()
    mine = and_(
        jobs.c.tenant == tenant, jobs.c.model == model, jobs.c.kind == kind, jobs.c.status == Status.SUCCEEDED
    )
    latest = select(jobs.c.metrics, pictures).where(mine).order_by(jobs.c.created_at.desc()).limit(LATEST)
    rows = connection.execute(latest).all()
    count = sum(row[1] or 0 for row in rows)
    return sum(row.metrics.get("device_ms", 0) for row in rows) / 1000 / count if count else None


def _bytes(connection: Connection, tenant: str, model: str, media_type: str) -> float | None:
    of_model = select(jobs.c.id).where(
        jobs.c.tenant == tenant, jobs.c.model == model, jobs.c.kind == Kind.GENERATE
    )
    latest = of_model.order_by(jobs.c.created_at.desc()).limit(LATEST)
    theirs = and_(
        outputs.c.tenant == tenant,
        outputs.c.job_id.in_(latest.scalar_subquery()),
        outputs.c.role == "image",
        outputs.c.media_type == media_type,
    )
    mean = connection.scalar(select(func.avg(outputs.c.size_bytes)).where(theirs))
    return None if mean is None else float(mean)
