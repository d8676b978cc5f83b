"""`python -m api.main`: the gateway that the settings describe, until SIGTERM or SIGINT."""

import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.edge import is_loopback
from api.protocol import BoundedProtocol
from jobs.blobs import open_blobs
from jobs.catalog import Catalog
from jobs.live import RedisLive
from jobs.logs import set_up_logs
from jobs.operations import serve
from jobs.queue import open_queue
from jobs.settings import Settings, settings
from jobs.store import open_store
from jobs.tracing import set_up_traces

DRAIN_S = 2  # for requests under way at shutdown; streams and long polls are cut, their callers come again


def refuse_unsafe(settings: Settings) -> None:
    """Raises ValueError for a gateway that strangers could reach without a key, or that cannot tell keys."""
    if settings.auth == "keys":
        settings.pepper()
        return
    if not is_loopback(settings.host):
        raise ValueError(
            f"GANSERVE_HOST is {settings.host}: without API keys the gateway serves loopback only "
            "(GANSERVE_AUTH=keys asks for them; `ganserve keys create` makes one)"
        )
    if settings.allowed_hosts:
        raise ValueError("GANSERVE_ALLOWED_HOSTS is for a gateway with GANSERVE_AUTH=keys")


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


def _exit_quietly(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    chosen = settings()
    refuse_unsafe(chosen)
    set_up_logs(chosen, "gateway")
    set_up_traces("gateway")
    app = make_app(chosen)
    serve(app.state.operations, chosen)
    # uvicorn takes both signals over, and at its end raises them once more for whoever had them before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit_quietly)
    uvicorn.run(
        app,
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
