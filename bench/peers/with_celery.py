"""Celery, Redis and FastAPI as tutorials put them together: one task for each request, the result in Redis,
and a client that polls. PEER_REDIS names the broker.

    celery -A bench.peers.with_celery:app worker -P solo
    uvicorn bench.peers.with_celery:web
"""

import base64
import os
from functools import cache
from typing import Any

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI

from bench.peers.painter import Painter

REDIS = os.environ["PEER_REDIS"]
app = Celery("portraits", broker=REDIS, backend=os.environ["PEER_BACKEND"])
web = FastAPI()
painter = cache(Painter)


@app.task(name="portraits.generate")  # type: ignore[untyped-decorator]
def generate(seed: int) -> str:
    return base64.b64encode(painter().files([seed])[0]).decode()


@web.post("/generate", status_code=202)
def submit(body: dict[str, int]) -> dict[str, str]:
    return {"id": generate.delay(body["seed"]).id}


@web.get("/result/{id}")
def result(id: str) -> dict[str, Any]:
    found = AsyncResult(id, app=app)
    return {"ready": found.ready(), "png": found.get() if found.ready() else None}
