"""LitServe: `python -m bench.peers.with_litserve PORT`."""

import sys
from typing import Any

import litserve as ls
from fastapi import Response

from bench.peers.painter import MAX_BATCH, WAIT_S, Painter


class Portraits(ls.LitAPI):
    def setup(self, device: str) -> None:
        self.painter = Painter()

    def decode_request(self, request: dict[str, Any]) -> int:
        return request["seed"]

    def predict(self, seeds: list[int]) -> list[bytes]:
        return self.painter.files(seeds)

    def encode_response(self, output: bytes) -> Response:
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    api = Portraits(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S, api_path="/generate")
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
