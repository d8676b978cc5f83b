"""Jobs know the trace that they belong to"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(), nullable=True))
