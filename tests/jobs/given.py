"""Small jobs, and the limits that the tests' stores have."""

import json
from typing import Any

from jobs.schemas import PAYLOAD_VERSION, GenerateRequest, request_adapter
from jobs.store import Claim, JobRow, JobStore, Limits, OutputRow

TENANT = "default"
LIMITS = Limits(lease_s=30, stall_s=120, max_attempts=3, max_losses=4, artifact_ttl_s=1000, leftovers_s=100)


def ask(**given: Any) -> GenerateRequest:
    """A small job."""
    return request_adapter.validate_json(json.dumps({"kind": "generate", "model": "portraits"} | given))


def submit(store: JobStore, **given: Any) -> JobRow:
    return store.submit(TENANT, ask(**given))[0]


def submit_import(store: JobStore, upload: str) -> JobRow:
    request = {"kind": "import", "model": "mine", "input": {"upload": upload, "sha256": "0" * 64}}
    return store.submit(TENANT, request_adapter.validate_json(json.dumps(request)))[0]


def claim(store: JobStore, row: JobRow, worker: str = "w1") -> Claim:
    got = store.claim(row.id, worker, payload_version=PAYLOAD_VERSION)
    assert got is not None
    return got


def picture(claim: Claim, name: str = "image_0000.png") -> OutputRow:
    """An output as a worker writes it: under its fence."""
    key = f"{claim.row.prefix}a/{claim.fence}/{name}"
    return OutputRow(name, "image", key, "image/png", size_bytes=8, sha256="0" * 64)
