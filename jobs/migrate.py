"""`python -m jobs.migrate`: bring the database that the settings name to the newest schema.

Safe to run from several processes at once: one migrates, the others wait and find nothing to do.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from jobs.settings import settings
from jobs.store.database import Database, connect

_TURN = 0x67616E73  # any number that nothing else locks


def migrate(url: str, revision: str = "head") -> None:
    """Upgrade the database at `url`; a SQLite file and its folder are made."""
    engine = connect(url)
    if engine.url.drivername == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", "jobs:migrations")
    with Database(engine).write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


if __name__ == "__main__":
    migrate(settings().database_url)
