"""A real Triton server for tests, from an environment of its own: its wheel wants another numpy than ours.

`make triton` installs it into `.triton`. Without it the tests that need it say so and are skipped.
"""

import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import Unavailable

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".triton" / "bin" / "python"
SCRIPT = ROOT / "tests" / "generative" / "backends" / "triton_server.py"
START_S, STOP_S = 200, 60
TRIES = 2  # its Python stub crashes now and then while it starts


@contextmanager
def private_triton(repository: Path, log: Path) -> Iterator[str]:
    """The address of a server of everything in a repository. Raises Unavailable."""
    if not PYTHON.exists():
        raise Unavailable("nvidia-pytriton is not installed: make triton")
    for _ in range(TRIES):
        http, grpc, metrics = free_ports(3)
        server = _start([PYTHON, SCRIPT, repository, http, grpc, metrics], log)
        try:
            if _ready(server, log):
                yield f"127.0.0.1:{grpc}"
                return
        finally:
            _stop(server)
    raise RuntimeError(f"Triton did not start in {TRIES} tries: {log.read_text()[-2000:]}")


def _start(command: list[object], log: Path) -> "subprocess.Popen[bytes]":
    # The server's Python stub must load the library of its interpreter, not another one that it finds.
    environment = os.environ | {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or ""}
    environment.pop("PYTHONPATH", None)
    with log.open("wb") as file:
        return subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _ready(server: "subprocess.Popen[bytes]", log: Path) -> bool:
    end = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < end:
        if b"ready\n" in log.read_bytes():
            return True
        time.sleep(0.1)
    return False


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """It and all its children, which it leaves behind when it is killed."""
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    server.wait()


def free_ports(count: int) -> list[int]:
    """Held together while they are chosen, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
