"""`ganserve up`, as a person runs it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import httpx2 as httpx
import psutil
import pytest

from client import Client, embedded_redis

from .stack import ROOT, SHORT, eventually, free_port


@pytest.fixture
def environment(model_repo):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANSERVE_")}
    return {**inherited, **SHORT, "GANSERVE_MODEL_REPO": str(model_repo), "PYTHONPATH": str(ROOT)}


@contextmanager
def up(var, environment, port):
    """The process, in a session of its own as from a shell; killed at the end if it still runs."""
    with (var.parent / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "client.cli", "up", "--var", str(var), "--port", str(port)],
            env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ready(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def generate(client, seed):
    request = {"kind": "generate", "model": "tiny", "input": {"source": {"seeds": [seed]}}}
    return client.wait(client.submit(request).id, timeout_s=90)


def family(process):
    return psutil.Process(process.pid).children(recursive=True)


def gone(processes):
    return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)


def test_up_serves_restarts_what_dies_stops_cleanly_and_keeps_its_jobs(tmp_path, environment):
    var, port = tmp_path / "var", free_port()
    url = f"http://127.0.0.1:{port}"
    with up(var, environment, port) as process, Client(url) as client:
        assert eventually(lambda: ready(url), 90), (tmp_path / "up.log").read_text()
        first = generate(client, 1)
        assert (var / "secrets" / "url_secret").stat().st_mode & 0o777 == 0o600

        for one in family(process):
            if "redis" in one.name() or "jobs.reaper" in " ".join(one.cmdline()):
                one.kill()
        assert generate(client, 2).status == "succeeded"
        children = family(process)

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (tmp_path / "up.log").read_text()
        assert gone(children)

    with up(var, environment, port) as process, Client(url) as client:
        assert eventually(lambda: ready(url), 90)
        assert client.get(first.id).outputs[0].sha256 == first.outputs[0].sha256
        process.terminate()
        assert process.wait(60) == 0


def test_up_that_is_killed_leaves_nothing_running_and_starts_again(tmp_path, environment):
    var, port = tmp_path / "var", free_port()
    url = f"http://127.0.0.1:{port}"
    with up(var, environment, port) as process:
        assert eventually(lambda: ready(url), 90), (tmp_path / "up.log").read_text()
        children = family(process)
        process.kill()
    if sys.platform == "linux":
        assert eventually(lambda: gone(children), 40)

    # An orphan all the same: a Redis that outlived its parent, on the same files.
    folder = var / "redis"
    path = embedded_redis.socket_path(folder)
    command = embedded_redis.command(embedded_redis.find_binary(), folder, path)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as orphan:
        assert eventually(lambda: embedded_redis.answers(path))
        with up(var, environment, port) as process:
            assert eventually(lambda: ready(url), 90), (tmp_path / "up.log").read_text()
            assert orphan.wait(10) == 0
            process.terminate()
            assert process.wait(60) == 0


def test_a_second_up_on_the_same_folder_is_refused(tmp_path, environment):
    import fcntl

    var = tmp_path / "var"
    var.mkdir()
    with (var / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with up(var, environment, free_port()) as process:
            assert process.wait(60) == 1
    assert "another `ganserve up` is running" in (tmp_path / "up.log").read_text()


def test_a_misspelt_setting_ends_up_with_its_name(tmp_path, environment):
    with up(tmp_path / "var", {**environment, "GANSERVE_LEESE_S": "4"}, free_port()) as process:
        assert process.wait(90) == 1
    assert "GANSERVE_LEESE_S is not a setting" in (tmp_path / "up.log").read_text()
