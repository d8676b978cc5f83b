"""Servers that several packages' tests need; each is started once, and only if a test asks for it."""

import os
from collections.abc import Iterator

import pytest

from tests.servers import (
    PrivatePostgres,
    PrivateRedis,
    PrivateS3,
    Unavailable,
    private_postgres,
    private_redis,
    private_s3,
)

# Before torch is loaded: the tensors of tests are small, and on few cores threads that wait for one another
# while servers run beside them cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    try:
        with private_postgres() as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[PrivateRedis]:
    """Shared: leave it running and empty your keys."""
    try:
        with private_redis() as server:
            yield server
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[PrivateS3]:
    with private_s3() as server:
        yield server
