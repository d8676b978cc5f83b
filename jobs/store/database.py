"""Connections: SQLite (WAL) or PostgreSQL through psycopg, set up so that both give the same guarantees.

An accepted job survives a power cut: PostgreSQL flushes at each commit, and for SQLite `Flush` does. That
takes about 3 ms on a small machine, which a heartbeat, worth nothing after a power cut, does not pay.
A transaction that writes takes SQLite's write lock at its start: one that reads first and writes later
would fail with "database is locked", whatever the timeout. On PostgreSQL READ COMMITTED is what conditional
updates need: a waiting UPDATE looks at its WHERE again when the row's holder has committed.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Double, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from jobs.errors import StoreUnavailable
from jobs.metrics import DATABASE_ERRORS, DATABASE_SECONDS
from jobs.store.flush import Flush

BUSY_S = 10.0  # how long a statement waits for a lock
POOL = 20

_READ, _WRITE = DATABASE_SECONDS.labels("read"), DATABASE_SECONDS.labels("write")


class now(FunctionElement[float]):
    """The database's clock, in seconds since 1970. Leases never compare clocks of two hosts."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # to the millisecond


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def database_url(url: str) -> URL:
    """`url` with the driver named. Raises ValueError for another database."""
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError("a database in memory is private to one thread; give a file")
        return parsed
    raise ValueError(f"the database is sqlite or postgresql, not {parsed.drivername}")


def connect(url: str) -> Engine:
    """An engine for `url`; opens no connection yet."""
    parsed = database_url(url)
    common: dict[str, Any] = {
        "json_serializer": _dumps,
        "json_deserializer": orjson.loads,
        "hide_parameters": True,  # errors are logged, and parameters are what callers wrote
    }
    if parsed.drivername == "sqlite":
        engine = create_engine(parsed, pool_size=POOL, max_overflow=POOL, **common)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = f"-c lock_timeout={round(BUSY_S * 1000)} -c statement_timeout=60s"
    options += " -c idle_in_transaction_session_timeout=30s"  # a frozen process must not keep its locks
    return create_engine(
        parsed,
        pool_size=POOL,
        max_overflow=POOL,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "options": options},
        **common,
    )


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


def _set_up_sqlite(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` says BEGIN, not the driver
    for pragma in (
        f"busy_timeout={round(BUSY_S * 1000)}",
        "synchronous=NORMAL",  # `Flush` makes commits durable
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL. While another does so to a new file, SQLite fails at once and does not wait."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


INSERTS: Mapping[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def upsert(connection: Connection, table: Table) -> Any:
    """The dialect's INSERT, which knows ON CONFLICT."""
    return INSERTS[connection.dialect.name](table)


class Database:
    """Transactions on one engine. A database that does not answer is `StoreUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writer = engine.execution_options(write=True)
        # SQLite's waiters poll with growing pauses; threads of one process can queue up instead.
        self._turn: AbstractContextManager[object] = nullcontext()
        self._flush: Flush | None = None
        if engine.dialect.name == "sqlite":
            self._reader = engine  # in WAL mode a transaction sees one state anyhow
            self._turn = threading.Lock()
            self._flush = Flush(Path(str(engine.url.database)))
        else:
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def read(self, tenant: str | None = None) -> Iterator[Connection]:
        """One consistent view; of a `tenant`, where one is named."""
        with _READ.time(), _unavailable(), self._reader.begin() as connection:
            _see_only(connection, tenant)
            yield connection

    @contextmanager
    def write(self, tenant: str | None = None, *, durable: bool = True) -> Iterator[Connection]:
        """Committed at the end, rolled back on any exception. A named `tenant` is all that it can touch.

        What is not `durable` may be undone by a power cut (on SQLite; it survives a crash of the process).
        """
        with _WRITE.time(), _unavailable():
            with self._turn, self._writer.begin() as connection:
                _see_only(connection, tenant)
                yield connection
            if durable and self._flush is not None:
                self._flush.wait()


def _see_only(connection: Connection, tenant: str | None) -> None:
    """PostgreSQL hides the rows of other tenants for this transaction (migration 0005): the second lock."""
    if tenant is not None and connection.dialect.name == "postgresql":
        connection.execute(text("SELECT set_config('ganserve.tenant', :tenant, true)"), {"tenant": tenant})


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
        DATABASE_ERRORS.inc()
        raise StoreUnavailable("the database did not answer") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            DATABASE_ERRORS.inc()
            raise StoreUnavailable("the connection to the database was lost") from error
        raise
