"""`python -m jobs.dispatcher`: delivers webhooks until SIGTERM or SIGINT, then ends what is under way."""

import asyncio
import os
import signal
from concurrent.futures import ThreadPoolExecutor

from jobs.blobs import open_blobs
from jobs.liveness import Liveness, Loop
from jobs.logs import set_up_logs
from jobs.metrics import REGISTRY
from jobs.operations import Operations, serve
from jobs.settings import Settings, settings
from jobs.store import open_store
from jobs.tracing import set_up_traces
from jobs.views import Views
from jobs.webhooks.delivery import Courier
from jobs.webhooks.dispatcher import Dispatcher
from jobs.webhooks.metrics import Waiting
from jobs.webhooks.signing import signer_of
from jobs.webhooks.target import rules_of


def open_dispatcher(settings: Settings, loop: Loop) -> Dispatcher:
    store = open_store(settings)
    REGISTRY.register(Waiting(store.webhooks))
    resolvers = ThreadPoolExecutor(settings.webhook_concurrency, thread_name_prefix="resolver")
    return Dispatcher(
        store,
        Views(open_blobs(settings), settings),
        signer_of(settings),
        Courier(rules_of(settings), resolvers),
        concurrency=settings.webhook_concurrency,
        poll_s=settings.webhook_poll_s,
        loop=loop,
    )


async def serve_until_told(dispatcher: Dispatcher) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await dispatcher.run(stop)


def main() -> None:
    # A thread that waits for a resolver cannot be interrupted: let it wait for less than an attempt may take.
    os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:2")
    given = settings()
    set_up_logs(given, "dispatcher")
    set_up_traces("dispatcher")
    liveness = Liveness(given.liveness_s)
    dispatcher = open_dispatcher(given, liveness.loop("dispatcher"))
    serve(Operations("dispatcher", liveness), given)
    asyncio.run(serve_until_told(dispatcher))


if __name__ == "__main__":
    main()
