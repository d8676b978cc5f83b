"""Jobs that are done in parts: datasets and batches"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PART = sa.text("parent IS NOT NULL")
MINE = "coalesce(current_setting('ganserve.tenant', true), '') IN ('', tenant)"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("place", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("size", sa.Integer(), nullable=True))
    op.create_index(
        "ix_jobs_parent",
        "jobs",
        ["tenant", "parent", "place"],
        unique=True,
        sqlite_where=PART,
        postgresql_where=PART,
    )
    op.create_table(
        "families",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("made", sa.Integer(), nullable=False),
        sa.Column("covered", sa.Integer(), nullable=False),
        sa.Column("paused", sa.String(), nullable=True),
        sa.Column("prefix", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "job_id"],
            ["jobs.tenant", "jobs.id"],
            name=op.f("fk_families_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant", "job_id", name=op.f("pk_families")),
    )
    op.create_index("ix_families_tenant_prefix", "families", ["tenant", "prefix"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE families ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE families FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON families USING ({MINE})")


def downgrade() -> None:
    op.drop_table("families")
    op.drop_index("ix_jobs_parent", "jobs")
    for column in ("size", "place", "parent"):
        op.drop_column("jobs", column)
