import os
import subprocess
import sys
from pathlib import Path


def test_a_worker_that_cannot_be_built_ends_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GANSERVE_")}
    environment |= {"GANSERVE_WORK_DIR": str(tmp_path), "GANSERVE_PRELOAD": "nobody", "OMP_NUM_THREADS": "1"}
    environment |= {"GANSERVE_BLOB_URL": (tmp_path / "blobs").as_uri()}  # and no secret to sign links with
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "1"]

    ended = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120
    )

    assert ended.returncode == 1
    assert "the worker cannot start" in ended.stdout and "URL_SECRET" in ended.stdout
