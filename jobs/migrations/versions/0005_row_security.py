"""PostgreSQL hides other tenants' rows from a transaction that names its tenant

The store's conditions on `tenant` are the first lock. This is the second, for the day on which one of them is
forgotten: a transaction of a caller sets `ganserve.tenant`, and from then on sees and writes rows of that
tenant only. Workers, reaper and dispatcher, which serve all tenants, set nothing. It binds every role but
superusers and those with BYPASSRLS. SQLite has no such thing.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = (
    *("jobs", "idempotency", "outputs", "events", "images", "models", "removals"),
    *("tenants", "keys", "holds", "usage", "storage", "turns"),
    *("webhooks", "deliveries", "delivery_attempts"),
)
MINE = "coalesce(current_setting('ganserve.tenant', true), '') IN ('', tenant)"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in TABLES:
        op.execute(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
        op.execute(f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY')
        op.execute(f'CREATE POLICY own_rows ON "{table}" USING ({MINE})')


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in TABLES:
        op.execute(f'DROP POLICY own_rows ON "{table}"')
        op.execute(f'ALTER TABLE "{table}" NO FORCE ROW LEVEL SECURITY')
        op.execute(f'ALTER TABLE "{table}" DISABLE ROW LEVEL SECURITY')
