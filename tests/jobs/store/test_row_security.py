"""PostgreSQL's own lock between tenants: what a forgotten condition would do."""

import psycopg
import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import ProgrammingError

from jobs.errors import NotFound
from jobs.migrate import migrate
from jobs.schemas import PAYLOAD_VERSION, Kind, Status
from jobs.store import ImageRow, JobStore, connect
from jobs.store.tables import images, jobs, metadata
from tests.jobs.given import LIMITS, ask, claim, picture


@pytest.fixture(scope="module")
def plain_url(postgres):
    """A database of a role without privileges, as in production: superusers pass every policy."""
    url = postgres.create("row_security")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("ALTER DATABASE row_security OWNER TO plain")
    url = url.replace("postgresql://ganserve@", "postgresql://plain@")
    migrate(url)
    return url


@pytest.fixture
def plain(plain_url):
    store = JobStore(connect(plain_url), LIMITS)
    with store.database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    yield store
    store.close()


def picture_of(tenant: str) -> dict:
    row = {"id": "img", "key": "k", "width": 1, "height": 1, "media_type": "image/png", "size_bytes": 1}
    return row | {"tenant": tenant, "sha256": "x", "created_at": 1}


def test_every_table_has_the_lock(plain):
    locked = text("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
    with plain.database.read() as connection:
        assert set(connection.scalars(locked)) == set(metadata.tables)


def test_a_statement_without_its_condition_reaches_only_the_tenants_own_rows(plain):
    for tenant in ("a", "a", "b"):
        plain.submit(tenant, ask())
    count = select(func.count()).select_from(jobs)
    with plain.database.read("a") as connection:
        assert connection.scalar(count) == 2
    with plain.database.write("a") as connection:
        assert connection.execute(update(jobs).values(seq=7)).rowcount == 2
    with plain.database.read() as connection:  # a worker or the reaper
        assert connection.scalar(count) == 3
        assert connection.scalar(select(jobs.c.seq).where(jobs.c.tenant == "b")) == 1


def test_a_row_of_another_tenant_cannot_be_written(plain):
    with pytest.raises(ProgrammingError, match="row-level security"), plain.database.write("a") as connection:
        connection.execute(insert(images).values(picture_of("b")))
    with plain.database.write("b") as connection:
        connection.execute(insert(images).values(picture_of("b")))


def test_the_lock_opens_with_the_transactions_end(plain):
    """Connections are pooled: the next transaction on this one may be anybody's."""
    plain.submit("b", ask())
    for _ in range(30):
        with plain.database.read("a") as connection:
            assert connection.scalar(select(func.count()).select_from(jobs)) == 0
        with plain.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(jobs)) == 1


def test_a_role_without_privileges_can_do_all_that_the_service_does(plain):
    row = plain.submit("a", ask(), idempotency_key="k")[0]
    plain.put_image("a", ImageRow("img", "k", 1, 1, "image/png", 5, "x"))
    with pytest.raises(NotFound):
        plain.get("b", row.id)
    got = plain.claim_fairest(
        row.id, "w", payload_version=PAYLOAD_VERSION, kinds=list(Kind), lanes=[row.lane]
    )
    plain.heartbeat(got)
    assert plain.finish(got, Status.SUCCEEDED, outputs=[picture(got)])
    assert plain.usage("a").stored_bytes == 13
    other = plain.submit("a", ask())[0]
    plain.release(claim(plain, other), reason="drain")
    assert [due.id for due in plain.due_for_send()] == [other.id]
    plain.cancel("a", other.id)
    plain.retry("a", other.id)
    plain.cancel("a", other.id)
    assert len(plain.list("a")) == 2 and plain.list("b") == []
    plain.delete("a", row.id)
    assert plain.prefixes_to_remove() == [("a", row.prefix)]
