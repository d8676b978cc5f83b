"""The two programs of this package, as processes: they read the environment, do their work, and stop."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from jobs.queue import KEY_PREFIX
from jobs.settings import read_settings
from jobs.store import open_store
from tests.jobs.given import TENANT, ask
from tests.servers import private_redis, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path):
    given = {"GANSERVE_WORK_DIR": str(tmp_path), "GANSERVE_URL_SECRET": "x" * 32, "GANSERVE_REAPER_S": "0.1"}
    return {"PATH": os.defpath, "PYTHONPATH": str(ROOT)} | given


def test_migrate_then_reap_until_told_to_stop(environment, tmp_path):
    with private_redis() as broker:
        environment |= {"GANSERVE_BROKER_URL": broker.url}
        for _ in range(2):
            subprocess.run([sys.executable, "-m", "jobs.migrate"], env=environment, cwd=tmp_path, check=True)
        store = open_store(read_settings(work_dir=tmp_path))
        row, _ = store.submit(TENANT, ask())

        reaper = subprocess.Popen([sys.executable, "-m", "jobs.reaper"], env=environment, cwd=tmp_path)
        try:
            client = redis.Redis.from_url(broker.redis_url)
            wait_until(lambda: client.llen(KEY_PREFIX + row.lane) > 0, "the send")
            client.close()
        finally:
            reaper.send_signal(signal.SIGTERM)
            assert reaper.wait(20) == 0
        store.close()


def test_a_misspelt_setting_stops_a_program_at_its_start(environment, tmp_path):
    wrong = environment | {"GANSERVE_LEASES": "5"}

    ran = subprocess.run(
        [sys.executable, "-m", "jobs.migrate"], env=wrong, cwd=tmp_path, capture_output=True, text=True
    )

    assert ran.returncode != 0 and "GANSERVE_LEASES is not a setting" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_here_loads_torch_or_the_web():
    code = (
        "import jobs.reaper, jobs.catalog, jobs.live, jobs.blobs.s3, sys;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'fastapi', 'generative')))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
