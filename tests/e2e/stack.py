"""The real service in processes of its own: gateway, reaper, workers and Redis on one temporary folder.

Leases are short, so that what takes 35 s in production takes 5 s here. Each process can be frozen or killed.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2 as httpx

from client import Client
from tests.servers import PrivateRedis

ROOT = Path(__file__).parents[2]
PROGRAMS = {"gateway": "api.main", "reaper": "jobs.reaper", "dispatcher": "jobs.dispatcher"}
WORKER = ("worker", "-P", "threads", "--without-gossip", "--without-mingle")
SHORT = {
    "GANSERVE_LEASE_S": "4",
    "GANSERVE_HEARTBEAT_S": "1.3",
    "GANSERVE_REAPER_S": "1",
    "GANSERVE_CHECKPOINT_S": "0.5",
    "GANSERVE_THREADS": "1",
    "GANSERVE_WEBHOOK_LOOPBACK": "true",
    "GANSERVE_WEBHOOK_POLL_S": "0.2",
    # On few cores, threads that spin while they wait keep the others from working.
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


def eventually(condition: Callable[[], object], within_s: float = 30.0) -> bool:
    """Whether `condition` becomes true in that time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Stack:
    """The processes. `environment` overrides settings: another database, another object store."""

    def __init__(self, folder: Path, model_repo: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        (folder / "redis").mkdir(parents=True)
        self.redis = PrivateRedis(folder / "redis")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        place = {
            "GANSERVE_WORK_DIR": str(folder),
            "GANSERVE_BROKER_URL": self.redis.url,
            "GANSERVE_URL_SECRET": "only for tests, of 32 characters at least",
            "GANSERVE_MODEL_REPO": str(model_repo),
            "GANSERVE_PORT": str(port),
            "GANSERVE_PUBLIC_URL": self.url,
            "PYTHONPATH": str(ROOT),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GANSERVE_")}
        self.environment = {**inherited, **SHORT, **place, **(environment or {})}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.operations: dict[str, str] = {}
        """Address of each process's port for operations: `/metrics`, `/healthz`, `/readyz`."""
        self._made = 0

    def start(self) -> None:
        """Everything but a worker."""
        self.redis.start()
        subprocess.run([sys.executable, "-m", "jobs.migrate"], env=self.environment, cwd=ROOT, check=True)
        self.spawn("reaper")
        self.start_gateway()

    def start_gateway(self) -> None:
        self.spawn("gateway")
        self._await("gateway", self.is_ready, 60)

    def spawn(self, name: str) -> None:
        """Start the process `name` (one of PROGRAMS), and do not wait for it."""
        self._spawn(name, [sys.executable, "-m", PROGRAMS[name]])

    def start_dispatcher(self) -> None:
        self.spawn("dispatcher")

    def restart_gateway(self) -> None:
        self.kill("gateway")
        self.start_gateway()

    def add_worker(self, app: str = "workers.app") -> str:
        """Start a worker and wait until it takes work; its name. `app`: its module."""
        name = self.spawn_worker(app)
        self._await(name, lambda: b" ready." in self.log_path(name).read_bytes(), 90)
        return name

    def spawn_worker(self, app: str = "workers.app") -> str:
        """Start a worker, and do not wait for it; its name."""
        self._made += 1
        name = f"worker{self._made}"
        options = ("-c", "16", "-n", f"{name}@%h", "-l", "INFO")
        self._spawn(name, [sys.executable, "-m", "celery", "-A", app, *WORKER, *options])
        return name

    def workers(self) -> list[str]:
        return [name for name in self.processes if name.startswith("worker")]

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def client(self) -> Client:
        return Client(self.url)

    def send_signal(self, name: str, number: int) -> None:
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def terminate(self, name: str, within_s: float = 30) -> int:
        """SIGTERM; its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        return process.wait(within_s)

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        self.redis.kill()

    def log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log(self, name: str) -> str:
        return self.log_path(name).read_text(errors="replace")[-4000:]

    def _await(self, name: str, condition: Callable[[], object], within_s: float) -> None:
        """Until `condition`; fails with the end of the log, at once if the process has died."""
        process = self.processes[name]
        eventually(lambda: condition() or process.poll() is not None, within_s)
        assert condition(), f"{name} (exit code {process.poll()}):\n{self.log(name)}"

    def _spawn(self, name: str, command: list[str]) -> None:
        port = free_port()
        self.operations[name] = f"http://127.0.0.1:{port}"
        environment = self.environment | {"GANSERVE_METRICS_PORT": str(port)}
        with self.log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
            )

    def make_whole(self) -> None:
        """Exactly one worker, awake; everything else running. Whatever died is started again."""
        for name, process in list(self.processes.items()):
            process.send_signal(signal.SIGCONT)
            if process.poll() is not None:
                del self.processes[name]
        for name in self.workers()[1:]:
            self.kill(name)
        if self.redis.process is None:
            self.redis.start()
        if "gateway" not in self.processes:
            self.start_gateway()
        if not self.workers():
            self.add_worker()
