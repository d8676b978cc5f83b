"""`ganserve up`: the whole service on one machine under one supervisor.

Redis (embedded), the database's migrations, gateway, worker, reaper and dispatcher, and all that they
keep in one folder:

    var/ganserve.db   blobs/   redis/   logs/   secrets/   up.lock

What `GANSERVE_*` the environment sets stays as it is, unless an option of the command says otherwise; with
`GANSERVE_BROKER_URL` set there is no embedded Redis. The children are `python -m …` processes: nothing of
gateway or worker is imported here.

Exit codes: 0 stopped when told to (Ctrl-C, SIGTERM); 1 could not start; 3 stopped, but had to kill a child.
"""

import fcntl
import ipaddress
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2 as httpx
from rich.console import Console

from client import embedded_redis
from client.supervisor import Child, Supervisor, UpError, tail

ROOT = Path(__file__).parents[1]
DEFAULT_PORT = 8000
START_WITHIN_S = 30.0  # one child
READY_WITHIN_S = 120.0  # all of it; torch is slow to import on a cold disk
DRAIN_S = 30.0  # a worker writes a checkpoint at its next step and gives its jobs back
STOP_ORDER = ("gateway", "worker", "dispatcher", "reaper", "redis")

console = Console(stderr=True, soft_wrap=True, highlight=False)


def up(*, var: Path, host: str, port: int | None) -> int:
    """Run until SIGINT or SIGTERM; the exit code."""
    var = var.absolute()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        refuse_unsafe(host)
        make_folders(var)
        with locked(var):
            return _run(var, host, choose_port(host, port), stop)
    except UpError as error:
        console.print(f"ganserve up: {error}", style="red", markup=False)
        return 1


def _run(var: Path, host: str, port: int, stop: threading.Event) -> int:
    environment = environment_for(var, host, port)
    supervisor = Supervisor(children_for(var, environment), tell=console.print)
    try:
        migrate(var, environment)
        supervisor.start(within_s=START_WITHIN_S, stopping=stop.is_set)
        if wait_until_ready(supervisor, f"http://{host}:{port}", stop):
            url = environment["GANSERVE_PUBLIC_URL"]
            console.print(f"ganserve is ready at [bold]{url}[/]  (docs: {url}/docs, logs: {var / 'logs'})")
            supervisor.steady = True
            while not stop.wait(0.2):
                supervisor.tick()
        console.print("stopping")
    finally:
        clean = supervisor.stop(STOP_ORDER)
    return 0 if clean else 3


def refuse_unsafe(host: str) -> None:
    """Raises UpError for an address that strangers could reach without a key."""
    if not is_loopback(host) and os.environ.get("GANSERVE_AUTH") != "keys":
        raise UpError(f"{host} is not loopback: give --auth keys, and make a key with `ganserve keys create`")


def make_folders(var: Path) -> None:
    for name in ("blobs", "redis", "logs", "secrets"):
        (var / name).mkdir(parents=True, exist_ok=True)
    (var / "secrets").chmod(0o700)


@contextmanager
def locked(var: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel drops it with the process, in whatever way that ends."""
    with (var / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(f"another `ganserve up` is running on {var}") from None
        yield


def choose_port(host: str, wanted: int | None) -> int:
    """The wanted port; without a wish 8000, or the next that nothing listens on."""
    if wanted is not None:
        if not is_free(host, wanted):
            raise UpError(f"something listens on {host}:{wanted} already")
        return wanted
    for port in range(DEFAULT_PORT, DEFAULT_PORT + 100):
        if is_free(host, port):
            if port != DEFAULT_PORT:
                console.print(f"port {DEFAULT_PORT} is taken: using {port}")
            return port
    raise UpError(f"no free port from {DEFAULT_PORT} on")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def secret(var: Path, name: str) -> str:
    """A random secret, made at the first start and kept, readable by its owner only."""
    path = var / "secrets" / name
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text()


def environment_for(var: Path, host: str, port: int) -> dict[str, str]:
    """The children's environment: ours, with what it does not set filled in."""
    redis = embedded_redis.socket_path(var / "redis")
    defaults = {
        "GANSERVE_DATABASE_URL": f"sqlite:///{var / 'ganserve.db'}",
        "GANSERVE_BROKER_URL": f"redis+socket://{redis}",
        "GANSERVE_BLOB_URL": (var / "blobs").as_uri(),
        "GANSERVE_URL_SECRET": secret(var, "url_secret"),
        "GANSERVE_KEY_PEPPER": secret(var, "key_pepper"),
        "GANSERVE_WEBHOOK_SECRET": secret(var, "webhook_secret"),
        # A receiver on the same machine may be told, as long as nobody else can name one.
        "GANSERVE_WEBHOOK_LOOPBACK": "true" if is_loopback(host) else "false",
        "GANSERVE_PUBLIC_URL": f"http://{host}:{port}",
        # Threads of torch that spin while they wait would keep the gateway from the few cores there are.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    place = {"GANSERVE_HOST": host, "GANSERVE_PORT": str(port), "GANSERVE_WORK_DIR": str(var)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**defaults, **os.environ, **place, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}


def children_for(var: Path, environment: Mapping[str, str]) -> list[Child]:
    """In the order in which they start."""
    logs = var / "logs"
    slots = environment.get("GANSERVE_SLOTS", "16")
    celery = ["celery", "-A", "workers.app", "worker", "-P", "threads", "-c", slots]
    modules = {
        "gateway": (["api.main"], 10.0),
        "reaper": (["jobs.reaper"], 10.0),
        "dispatcher": (["jobs.dispatcher"], 15.0),
        "worker": ([*celery, "--without-gossip", "--without-mingle", "-l", "INFO"], DRAIN_S),
    }
    children = [
        Child(
            name,
            [sys.executable, "-m", *module],
            logs / f"{name}.log",
            {**environment, **metrics_port(environment, place)},
            stop_within_s,
        )
        for place, (name, (module, stop_within_s)) in enumerate(modules.items())
    ]
    return children if "GANSERVE_BROKER_URL" in os.environ else [redis_child(var, environment), *children]


def metrics_port(environment: Mapping[str, str], place: int) -> dict[str, str]:
    """A port for each child, counted from the one that is set; none where none is."""
    first = int(environment.get("GANSERVE_METRICS_PORT", "0"))
    return {"GANSERVE_METRICS_PORT": str(first + place)} if first else {}


def redis_child(var: Path, environment: Mapping[str, str]) -> Child:
    folder = var / "redis"
    path = embedded_redis.socket_path(folder)
    return Child(
        "redis",
        embedded_redis.command(embedded_redis.find_binary(), folder, path),
        var / "logs" / "redis.log",
        environment,
        before=partial(embedded_redis.reap_orphan, folder),
        ready=partial(embedded_redis.answers, path),
    )


def migrate(var: Path, environment: Mapping[str, str]) -> None:
    """Bring the database to today's schema."""
    log = var / "logs" / "migrate.log"
    with log.open("ab") as file:
        done = subprocess.run(
            [sys.executable, "-m", "jobs.migrate"],
            env=dict(environment),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise UpError(f"the database could not be migrated; the end of {log}:\n{tail(log)}")


def wait_until_ready(supervisor: Supervisor, url: str, stop: threading.Event) -> bool:
    """True when the gateway says so, False when told to stop before. UpError after `READY_WITHIN_S`."""
    for _ in range(int(READY_WITHIN_S / 0.2)):
        supervisor.tick()
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        if stop.wait(0.2):
            return False
    raise UpError(f"not ready after {READY_WITHIN_S:g} s; see the logs")
