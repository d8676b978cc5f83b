"""BentoML: `bentoml serve bench.peers.with_bentoml:Portraits --host 127.0.0.1 --port PORT`.

An endpoint that batches takes and gives lists; bytes in a list go as base64.
"""

import base64

import bentoml

from bench.peers.painter import MAX_BATCH, Painter

MAX_LATENCY_MS = 10_000  # of a request before it is refused: nothing is, here


@bentoml.service(workers=1, traffic={"timeout": 60})
class Portraits:
    def __init__(self) -> None:
        self.painter = Painter()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS, route="/generate")
    def generate(self, seeds: list[int]) -> list[str]:
        return [base64.b64encode(file).decode() for file in self.painter.files(seeds)]
