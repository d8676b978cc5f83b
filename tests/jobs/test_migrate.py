"""Migrations make what the code expects, on both databases, however often and from however many processes."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from jobs.migrate import migrate
from jobs.store import connect
from jobs.store.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/folder/ganserve.db"
    return request.getfixturevalue("postgres").create(f"fresh_{tmp_path.name}")


def test_migrated_tables_are_the_ones_that_the_code_uses(fresh_url):
    migrate(fresh_url)

    engine = connect(fresh_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_table_names_the_tenant_in_its_key():
    for table in metadata.tables.values():
        assert "tenant" in table.primary_key.columns, table.name


def test_processes_that_migrate_at_once_do_it_once(fresh_url):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [fresh_url] * 4))

    engine = connect(fresh_url)
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_partial_indexes_serve_the_frequent_questions(tmp_path):
    """The plan of the admission count and of the reaper's look for leases."""
    url = f"sqlite:///{tmp_path}/ganserve.db"
    migrate(url)
    engine = connect(url)
    questions = {
        "ix_jobs_waiting": "SELECT count(*) FROM jobs WHERE status = 'queued' AND tenant = 'default'",
        "ix_jobs_leased": "SELECT id FROM jobs WHERE status = 'running' AND lease_until < 1",
    }
    with engine.connect() as connection:
        for index, question in questions.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}").fetchall()
            assert index in str(plan)
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name"])
def test_a_database_that_cannot_serve_is_refused(url):
    with pytest.raises(ValueError):
        connect(url)


def test_jobs_and_files_of_before_there_were_quotas_are_counted(fresh_url):
    """Jobs in flight at the upgrade hold their place, so that their end settles it."""
    migrate(fresh_url, "0001")
    engine = connect(fresh_url)
    job = (
        "INSERT INTO jobs (tenant, id, kind, model, priority, lane, payload_version, request, metadata,"
        " status, seq, cancel_requested, fence, attempts, losses, created_at, queued_at, sends, sent_at,"
        " next_send_at, swept) VALUES ('a', '{0}', 'generate', 'm', 'normal', '1-normal.fast', 1, '{{}}',"
        " '{{}}', '{0}', 1, false, 0, 0, 0, 1, 1, 0, 1, 1, false)"
    )
    output = (
        'INSERT INTO outputs (tenant, job_id, name, position, role, "index", key, media_type, size_bytes,'
        " sha256, about, gone, expires_at) VALUES ('a', 'succeeded', '{0}', 0, 'image', 0, 'k', 'image/png',"
        " {1}, 'x', '{{}}', {2}, 1)"
    )
    image = "INSERT INTO images VALUES ('b', 'img', 'k', 1, 1, 'image/png', 7, 'x', 1)"
    with engine.begin() as connection:
        for status in ("queued", "running", "succeeded"):
            connection.exec_driver_sql(job.format(status))
        for statement in (output.format("a", 10, "false"), output.format("b", 5, "true"), image):
            connection.exec_driver_sql(statement)
    engine.dispose()

    migrate(fresh_url)

    engine = connect(fresh_url)
    with engine.begin() as connection:
        held = connection.exec_driver_sql("SELECT job_id, images FROM holds ORDER BY job_id").all()
        stored = connection.exec_driver_sql("SELECT tenant, size_bytes FROM storage ORDER BY tenant").all()
    engine.dispose()
    assert [tuple(row) for row in held] == [("queued", 0), ("running", 0)]
    assert [tuple(row) for row in stored] == [("a", 10), ("b", 7)]
