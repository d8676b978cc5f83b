"""The tables. Every one carries `tenant`. Times are epoch seconds by the database's clock.

`jobs/migrations` makes them; a test compares the two.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


# Conditions of the partial indexes; a query is served by one only if it says the same in literals.
_WAITING = text("status = 'queued'")
_RUNNING = text("status = 'running'")
_UNSWEPT = text("NOT swept AND finished_at IS NOT NULL")
_THERE = text("NOT gone")
_TO_REMOVE = text("gone AND key IS NOT NULL")
_PENDING = text("status = 'pending'")
_ENDED = text("finished_at IS NOT NULL")
_PART = text("parent IS NOT NULL")


def document() -> TypeEngine[Any]:
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


jobs = Table(
    "jobs",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    # What was asked for.
    Column("kind", String, nullable=False),
    Column("model", String, nullable=False),
    Column("priority", String, nullable=False),
    Column("lane", String, nullable=False),
    Column("payload_version", Integer, nullable=False),
    Column("request", Text, nullable=False),  # JSON text, parsed only by those who need it
    Column("metadata", document(), nullable=False),
    # Where it stands. `seq` grows with every change that a caller can see.
    Column("status", String, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", document()),
    Column("result", document()),
    Column("error", document()),
    Column("metrics", document()),
    # Who works on it. `fence` grows with every claim and never falls.
    Column("fence", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("worker", String),
    Column("lease_until", Double),
    Column("progress_at", Double),
    Column("checkpoint_key", String),
    # When.
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("deadline_at", Double),
    Column("expires_at", Double),
    # What the reaper still has to do.
    Column("sends", Integer, nullable=False),
    Column("sent_at", Double, nullable=False),
    Column("next_send_at", Double, nullable=False),
    Column("swept", Boolean, nullable=False),
    # Whom to tell: {url, events}.
    Column("webhook", document()),
    Column("traceparent", String),  # the submit's place in its trace, as the W3C writes it
    # Of a part of a dataset or batch. The summary of the other parts has the place -1.
    Column("parent", String),
    Column("place", Integer),
    Column("size", Integer),  # pictures
    Index("ix_jobs_id", "id", unique=True),
    Index(
        "ix_jobs_parent",
        "tenant",
        "parent",
        "place",
        unique=True,
        sqlite_where=_PART,
        postgresql_where=_PART,
    ),
    Index("ix_jobs_tenant_created_at_id", "tenant", "created_at", "id"),
    # Few rows at any time, so these stay small however long the history.
    Index("ix_jobs_waiting", "tenant", "lane", "queued_at", sqlite_where=_WAITING, postgresql_where=_WAITING),
    Index("ix_jobs_leased", "lease_until", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    Index("ix_jobs_running", "tenant", sqlite_where=_RUNNING, postgresql_where=_RUNNING),
    Index("ix_jobs_unswept", "finished_at", sqlite_where=_UNSWEPT, postgresql_where=_UNSWEPT),
)


def _of_job() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant", "job_id"], ["jobs.tenant", "jobs.id"], ondelete="CASCADE")


families = Table(
    "families",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("parts", Integer, nullable=False),  # that it is to have
    Column("made", Integer, nullable=False),  # that have a row
    Column("covered", Integer, nullable=False),  # samples of a dataset that those make
    Column("paused", String),  # by whom: caller, quota
    Column("prefix", String),  # of a dataset's files, under the tenant's
    _of_job(),
    Index("ix_families_tenant_prefix", "tenant", "prefix", unique=True),
)
"""Jobs that are done in parts, each a job of its own with the parent's id."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body_hash", String, nullable=False),
    Column("job_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_idempotency_tenant_job_id", "tenant", "job_id"),
    Index("ix_idempotency_created_at", "created_at"),
)

outputs = Table(
    "outputs",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("role", String, nullable=False),
    Column("index", Integer, nullable=False),
    Column("key", String),  # NULL once the object is removed
    Column("media_type", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("about", document(), nullable=False),
    Column("gone", Boolean, nullable=False),
    Column("expires_at", Double, nullable=False),
    _of_job(),
    Index("ix_outputs_expires_at", "expires_at", sqlite_where=_THERE, postgresql_where=_THERE),
    Index("ix_outputs_to_remove", "key", sqlite_where=_TO_REMOVE, postgresql_where=_TO_REMOVE),
)

events = Table(
    "events",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String, nullable=False),
    Column("body", document(), nullable=False),
    Column("at", Double, nullable=False),
    _of_job(),
)

images = Table(
    "images",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("key", String, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("media_type", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("created_at", Double, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("prefix", String, nullable=False),  # its files are under this key prefix
    Column("card", document(), nullable=False),
    Column("created_at", Double, nullable=False),
)

direction_sets = Table(
    "direction_sets",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("model", String, primary_key=True),  # shipped or imported
    Column("name", String, primary_key=True),
    Column("model_sha256", String, nullable=False),  # of the weights that it was found in or brought for
    Column("prefix", String, nullable=False),  # its two files are under this key prefix
    Column("size_bytes", BigInteger, nullable=False),
    Column("listing", document(), nullable=False),  # what a card says of each direction
    Column("created_at", Double, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("prefix", String, primary_key=True),  # everything under it is to be removed
    Column("created_at", Double, nullable=False),
)

# --- who may do what, and how much -----------------------------------------------------------------------

tenants = Table(
    "tenants",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("suspended_at", Double),
    # NULL: what the settings say.
    Column("max_jobs", Integer),  # queued and running
    Column("max_images_per_job", Integer),
    Column("max_images_per_day", Integer),
    Column("max_device_s_per_day", Double),
    Column("max_bytes", BigInteger),
    Column("max_requests_per_minute", Integer),  # of each key
)

keys = Table(
    "keys",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("environment", String, nullable=False),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),  # HMAC-SHA256 of the secret, in hex
    Column("scopes", document(), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),  # to the minute
    Column("successor", String),  # id of the key that replaces this one
    ForeignKeyConstraint(["tenant"], ["tenants.tenant"]),
    Index("ix_keys_id", "id", unique=True),
)

holds = Table(
    "holds",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("job_id", String, primary_key=True),
    Column("images", Integer, nullable=False),  # that the job will make
    Column("bytes_each", Double, nullable=False, server_default="0"),  # of a dataset or batch: what one of
    Column("device_s_each", Double, nullable=False, server_default="0"),  # its pictures is likely to take
    _of_job(),
)
"""What jobs in flight may still use up: written with the job, gone when it has ended."""

usage = Table(
    "usage",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("day", Integer, primary_key=True),  # since 1970, in UTC
    Column("jobs", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("device_s", Double, nullable=False),
)
"""What ended jobs have used up, on the day of their end."""

storage = Table(
    "storage",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)
"""Sum of a tenant's outputs, images, imported models and direction sets that are not removed."""

turns = Table(
    "turns",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("served_at", Double, nullable=False),  # when a worker last took a job of the tenant
)

# Where a tenant wants its webhooks. The row `jobs` (no URL) signs those that a job names for itself.
webhooks = Table(
    "webhooks",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("url", String),
    Column("events", document(), nullable=False),
    Column("description", String, nullable=False),
    Column("salt", String, nullable=False),  # of the signing secret
    Column("previous_salt", String),
    Column("previous_until", Double),
    Column("failing_since", Double),
    Column("disabled_at", Double),
    Column("disabled_reason", String),  # owner, gone, failing
    Column("created_at", Double, nullable=False),
)

# The outbox and its history: one row for each event and receiver, written with the change that it tells of.
deliveries = Table(
    "deliveries",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("webhook_id", String, nullable=False),
    Column("url", String),  # of the job's own webhook; otherwise where the endpoint is by then
    Column("event_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("job_id", String),
    Column("seq", Integer),  # of the job, when it happened
    Column("body", document(), nullable=False),
    Column("happened_at", Double, nullable=False),
    # `fence` grows with every attempt and never falls; a dispatcher has a row while `next_at` is ahead.
    Column("status", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("error", String),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    ForeignKeyConstraint(["tenant", "webhook_id"], ["webhooks.tenant", "webhooks.id"], ondelete="CASCADE"),
    Index("ix_deliveries_tenant_webhook_id_created_at_id", "tenant", "webhook_id", "created_at", "id"),
    Index("ix_deliveries_pending", "next_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index("ix_deliveries_ended", "finished_at", sqlite_where=_ENDED, postgresql_where=_ENDED),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("delivery_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),  # the fence
    Column("at", Double, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status", Integer),
    Column("error", String),
    ForeignKeyConstraint(
        ["tenant", "delivery_id"], ["deliveries.tenant", "deliveries.id"], ondelete="CASCADE"
    ),
)
