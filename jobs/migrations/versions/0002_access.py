"""Tenants, API keys, quotas, and whose turn it is"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

DOCUMENT = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
TABLES = ("turns", "storage", "usage", "holds", "keys", "tenants")


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("suspended_at", sa.Double(), nullable=True),
        sa.Column("max_jobs", sa.Integer(), nullable=True),
        sa.Column("max_images_per_job", sa.Integer(), nullable=True),
        sa.Column("max_images_per_day", sa.Integer(), nullable=True),
        sa.Column("max_device_s_per_day", sa.Double(), nullable=True),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_requests_per_minute", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenants")),
    )
    op.create_table(
        "keys",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("scopes", DOCUMENT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.Column("successor", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.tenant"], name=op.f("fk_keys_tenants")),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_keys")),
    )
    op.create_index("ix_keys_id", "keys", ["id"], unique=True)
    op.create_table(
        "holds",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "job_id"], ["jobs.tenant", "jobs.id"], name=op.f("fk_holds_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant", "job_id", name=op.f("pk_holds")),
    )
    op.create_table(
        "usage",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("device_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "day", name=op.f("pk_usage")),
    )
    op.create_table(
        "storage",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_storage")),
    )
    op.create_table(
        "turns",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("served_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_turns")),
    )
    op.drop_index("ix_jobs_waiting", "jobs")
    partial_index("ix_jobs_waiting", ["tenant", "lane", "queued_at"], "status = 'queued'")
    partial_index("ix_jobs_running", ["tenant"], "status = 'running'")
    count_what_is_there()


def count_what_is_there() -> None:
    """Jobs in flight hold their place, and what is stored counts."""
    op.execute(
        "INSERT INTO holds (tenant, job_id, images)"
        " SELECT tenant, id, 0 FROM jobs WHERE status IN ('queued', 'running')"
    )
    op.execute(
        "INSERT INTO storage (tenant, size_bytes) SELECT tenant, SUM(size_bytes) FROM"
        " (SELECT tenant, size_bytes FROM outputs WHERE NOT gone"
        " UNION ALL SELECT tenant, size_bytes FROM images) AS kept GROUP BY tenant"
    )


def partial_index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "jobs", columns, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    op.drop_index("ix_jobs_running", "jobs")
    op.drop_index("ix_jobs_waiting", "jobs")
    partial_index("ix_jobs_waiting", ["tenant", "queued_at"], "status = 'queued'")
    for table in TABLES:
        op.drop_table(table)
