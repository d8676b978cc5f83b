"""Servers that several packages' tests need; each is started once, and only if a test asks for it."""

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
