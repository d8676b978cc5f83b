import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from api.main import refuse_unsafe
from jobs.settings import Settings

ROOT = Path(__file__).parents[2]


def test_importing_the_gateway_loads_no_science() -> None:
    heavy = {"torch", "generative", "workers", "PIL", "numpy", "cv2", "onnxruntime"}
    code = f"import api.app, sys; found = {heavy} & set(sys.modules); sys.exit(', '.join(found) or 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "gpu-box", "10.0.0.1", "127.0.0.1.evil.example", ""]
)
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"):
        refuse_unsafe(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "gpu-box"])
def test_with_keys_any_address_is_served(host: str) -> None:
    refuse_unsafe(Settings(host=host, auth="keys", key_pepper="p" * 32))


def test_keys_need_a_pepper() -> None:
    with pytest.raises(ValueError, match="GANSERVE_KEY_PEPPER"):
        refuse_unsafe(Settings(auth="keys"))
    with pytest.raises(ValueError, match="32 characters"):
        Settings(auth="keys", key_pepper="short")


def test_without_keys_no_other_host_name_is_taken() -> None:
    """A page of another site could give its name this address, and then read as the visitor."""
    with pytest.raises(ValueError, match="GANSERVE_ALLOWED_HOSTS"):
        refuse_unsafe(Settings(allowed_hosts="api.example"))
    assert Settings(allowed_hosts="api.example, B.example").allowed_hosts == ("api.example", "b.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost"])
def test_loopback_is_served(host: str) -> None:
    refuse_unsafe(Settings(host=host))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_process_serves_and_ends_well_on_sigterm(settings: Settings, tmp_path: Path) -> None:
    """Without a broker it is up and takes jobs; all that it says is JSON."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GANSERVE_")} | {
        "GANSERVE_PORT": str(port),
        "GANSERVE_DATABASE_URL": settings.database_url,
        "GANSERVE_WORK_DIR": str(settings.work_dir),
        "GANSERVE_MODEL_REPO": str(settings.model_repo),
        "GANSERVE_BROKER_URL": f"redis+socket://{tmp_path}/nowhere.sock",
        "GANSERVE_URL_SECRET": settings.secret().decode(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api.main"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert wait_for(f"http://127.0.0.1:{port}/healthz", process) == 200
        assert wait_for(f"http://127.0.0.1:{port}/readyz", process) == 200
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    routes = [line.get("route") for line in map(json.loads, output.splitlines())]
    assert {"/healthz", "/readyz"} <= set(routes)


def wait_for(url: str, process: subprocess.Popen[str]) -> int:
    while process.poll() is None:
        try:
            with urlopen(url, timeout=20) as reply:
                return reply.status
        except URLError as error:
            if hasattr(error, "code"):
                return error.code
            time.sleep(0.05)
    raise AssertionError(process.communicate()[0])
