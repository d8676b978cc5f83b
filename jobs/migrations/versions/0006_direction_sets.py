"""Sets of directions that tenants find or bring"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

DOCUMENT = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MINE = "coalesce(current_setting('ganserve.tenant', true), '') IN ('', tenant)"


def upgrade() -> None:
    op.create_table(
        "direction_sets",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("model_sha256", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("listing", DOCUMENT, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "model", "name", name=op.f("pk_direction_sets")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE direction_sets ENABLE ROW LEVEL SECURITY")
        op.execute("ALTER TABLE direction_sets FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own_rows ON direction_sets USING ({MINE})")


def downgrade() -> None:
    op.drop_table("direction_sets")
