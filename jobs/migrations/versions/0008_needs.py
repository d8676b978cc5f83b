"""What datasets and batches are likely to take is held with their pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COLUMNS = ("bytes_each", "device_s_each")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("holds", sa.Column(name, sa.Double(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("holds", name)
