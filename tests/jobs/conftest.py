"""A store on each database, and the means to let time pass in it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from jobs.migrate import migrate
from jobs.store import JobStore, connect
from jobs.store.tables import idempotency, jobs, metadata, outputs
from tests.jobs.given import LIMITS


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ganserve.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def empty_postgres(postgres: Any) -> str:
    url = postgres.create("jobs")
    migrate(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    """An empty store, once on each database."""
    if request.param == "sqlite":
        path = tmp_path / "ganserve.db"
        shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        found = JobStore(connect(f"sqlite:///{path}"), LIMITS)
    else:
        found = JobStore(connect(request.getfixturevalue("empty_postgres")), LIMITS)
        with found.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
    yield found
    found.close()


@pytest.fixture
def later(store: JobStore) -> Callable[[str, float], None]:
    """`later(job_id, s)`: for this job, `s` seconds have passed. The database's clock cannot be moved."""

    def pass_time(job_id: str, seconds: float) -> None:
        names = "lease_until progress_at created_at queued_at started_at finished_at deadline_at expires_at"
        for table, columns in (
            (jobs, [*names.split(), "sent_at", "next_send_at"]),
            (outputs, ["expires_at"]),
        ):
            mine = jobs.c.id == job_id if table is jobs else outputs.c.job_id == job_id
            values = {name: table.c[name] - seconds for name in columns}
            with store.database.write() as connection:
                connection.execute(update(table).where(mine).values(values))

    return pass_time


@pytest.fixture
def let_keys_age(store: JobStore) -> Callable[[float], None]:
    """Every idempotency key is so many seconds older."""

    def pass_time(seconds: float) -> None:
        with store.database.write() as connection:
            connection.execute(update(idempotency).values(created_at=idempotency.c.created_at - seconds))

    return pass_time


@pytest.fixture
def at_one_time(store: JobStore) -> Callable[[], None]:
    """All jobs were created at the same moment."""

    def level() -> None:
        with store.database.write() as connection:
            connection.execute(update(jobs).values(created_at=1_000_000.0))

    return level
