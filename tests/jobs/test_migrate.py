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
