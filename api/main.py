"""`python -m api.main`: the gateway that the settings describe, until SIGTERM or SIGINT."""

import logging
import signal
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.edge import is_loopback
from api.protocol import BoundedProtocol
from jobs.blobs import open_blobs
from jobs.catalog import Catalog
from jobs.live import RedisLive
from jobs.queue import open_queue
from jobs.settings import Settings, settings
from jobs.store import open_store

DRAIN_S = 2  # for requests under way at shutdown; streams and long polls are cut, their callers come again


def refuse_open_address(settings: Settings) -> None:
    """Raises ValueError unless only this machine can reach the gateway: there are no keys yet."""
    if not is_loopback(settings.host):
        raise ValueError(
            f"GANSERVE_HOST is {settings.host}: without API keys the gateway serves loopback only"
        )


def make_app(settings: Settings) -> FastAPI:
    """The real store, queue, blobs and live events, and the application on them."""
    store, blobs = open_store(settings), open_blobs(settings)
    return create_app(
        store,
        open_queue(settings),
        blobs,
        RedisLive(settings.redis_url()),
        Catalog(settings.model_repo, store),
        settings,
    )


def set_up_logs(level: str) -> None:
    """JSON lines on stdout, one for each request; other libraries' at warning and above."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    logging.basicConfig(level=level.upper(), stream=sys.stdout, format="%(levelname)s %(name)s: %(message)s")


def _exit_quietly(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    chosen = settings()
    refuse_open_address(chosen)
    set_up_logs(chosen.log_level)
    # uvicorn takes both signals over, and at its end raises them once more for whoever had them before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_quietly)
    uvicorn.run(
        make_app(chosen),
        host=chosen.host,
        port=chosen.port,
        http=BoundedProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=DRAIN_S,
    )


if __name__ == "__main__":
    main()
