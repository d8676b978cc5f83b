"""Ray Serve: `python -m bench.peers.with_ray PORT`."""

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from bench.peers.painter import MAX_BATCH, WAIT_S, Painter


@serve.deployment(max_ongoing_requests=64)
class Portraits:
    def __init__(self) -> None:
        self.painter = Painter()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_S)
    async def files(self, seeds: list[int]) -> list[bytes]:
        return self.painter.files(seeds)

    async def __call__(self, request: Request) -> Response:
        seed = (await request.json())["seed"]
        return Response(await self.files(seed), media_type="image/png")


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Portraits.bind(), route_prefix="/generate")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
