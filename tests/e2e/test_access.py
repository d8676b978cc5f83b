"""The real service with keys: two tenants, one of which sends much."""

import os
import subprocess
import sys

import pytest

from client import Client
from client.errors import Busy, Denied, Missing

from .conftest import MODEL
from .stack import ROOT, Stack

JOBS = 150  # of the tenant that sends much
SLOTS = 16


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, model_repo):
    environment = {
        "GANSERVE_AUTH": "keys",
        "GANSERVE_KEY_PEPPER": "only for tests, of 32 characters at least",
    }
    stack = Stack(tmp_path_factory.mktemp("guarded"), model_repo, environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


def admin(stack: Stack, *arguments: str) -> str:
    command = [sys.executable, "-m", "jobs.admin", *arguments]
    done = subprocess.run(
        command, env=stack.environment, cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def generation(seed: int) -> dict:
    return {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [seed]}}}


def test_a_tenant_with_one_job_is_served_beside_one_with_many(guarded, tmp_path):
    admin(guarded, "tenants", "create", "big")
    admin(guarded, "tenants", "create", "small", "--jobs", "1")
    keys = {tenant: admin(guarded, "keys", "create", "--tenant", tenant) for tenant in ("big", "small")}
    assert "GANSERVE_API_KEY" not in os.environ
    with Client(guarded.url) as nobody, pytest.raises(Denied):
        nobody.models()
    with (
        Client(guarded.url, api_key=keys["big"]) as big,
        Client(guarded.url, api_key=keys["small"]) as small,
    ):
        for seed in range(JOBS):
            big.submit(generation(seed))
        one = small.submit(generation(7))
        with pytest.raises(Missing):
            big.get(one.id)
        guarded.add_worker()
        done = small.wait(one.id, timeout_s=90)
        small.download(done, tmp_path)
        for job in big.jobs(limit=None):
            big.wait(job.id, timeout_s=90)
        # All were there when the first worker came, so the order is that of the pick and nothing else.
        before = [job for job in big.jobs(limit=None) if job.started_at < done.started_at]
        assert len(before) <= SLOTS
        usage = big.usage()
        assert (usage.jobs.used, usage.images_today.used, usage.jobs_ended_today) == (0, JOBS, JOBS)
        assert small.usage().stored_bytes.used == sum(output.size_bytes for output in done.outputs)


def test_a_quota_and_a_revoked_key_are_felt_through_the_client(guarded):
    admin(guarded, "tenants", "create", "tiny", "--images-per-day", "2")
    made = admin(guarded, "keys", "create", "--tenant", "tiny")
    with Client(guarded.url, api_key=made) as client:
        client.submit(generation(1))
        client.submit(generation(2))
        with pytest.raises(Busy) as refused:
            client.submit(generation(3))
        assert refused.value.code == "quota" and refused.value.retry_after_s > 60
        admin(guarded, "keys", "revoke", made.split("_")[2])
        guarded.restart_gateway()  # which knows nothing of the key from before
        with pytest.raises(Denied):
            client.usage()
    log = guarded.log_path("gateway").read_text()
    assert made.split("_")[2] in log and made.split("_")[3] not in log
