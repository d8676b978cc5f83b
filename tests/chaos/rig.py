"""The real stack on a given ground (database, broker, storage), with a handle on all that may break."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.settings import Settings
from tests.chaos.proxy import FaultProxy
from tests.chaos.schedule import ANYWHERE, POSTGRES, S3, SMALL_DISK
from tests.e2e.models import write_tiny_model
from tests.e2e.stack import Stack
from tests.servers import PrivatePostgres, PrivateS3, Unavailable, private_postgres, private_s3

MODEL = "tiny"
WORKERS = 2
DISK_MB = 48
SECRET = "only for tests, of 32 characters at least"


@dataclass(frozen=True)
class Ground:
    """What the service stands on."""

    database: Literal["sqlite", "postgresql"] = "sqlite"
    append_only: bool = False  # Redis keeps a log
    blobs: Literal["directory", "small disk", "s3"] = "directory"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Faults that can happen on it."""
        return (
            *ANYWHERE,
            *(POSTGRES if self.database == "postgresql" else ()),
            *(S3 if self.blobs == "s3" else ()),
            *(SMALL_DISK if self.blobs == "small disk" else ()),
        )

    def __str__(self) -> str:
        return f"{self.database}, {'AOF' if self.append_only else 'no AOF'}, {self.blobs}"


class Rig(Stack):
    """What dies of itself is started again, as an orchestrator would; `died` tells of it."""

    def __init__(
        self,
        folder: Path,
        ground: Ground,
        postgres: PrivatePostgres | None,
        s3: PrivateS3 | None,
        proxy: FaultProxy | None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        write_tiny_model(folder / "models" / MODEL)
        self.postgres, self.proxy, self.disk = postgres, proxy, folder / "disk"
        self.disk.mkdir(exist_ok=True)
        self._s3 = s3
        given = {"GANSERVE_WORK_DIR": str(self.disk)}
        if postgres is not None:
            given["GANSERVE_DATABASE_URL"] = postgres.create("chaos")
        if s3 is not None and proxy is not None:
            given |= {
                "GANSERVE_BLOB_URL": s3.blob_url,
                "GANSERVE_S3_ENDPOINT": proxy.url,
                "GANSERVE_S3_PUBLIC_ENDPOINT": s3.endpoint,
                "GANSERVE_S3_ACCESS_KEY": s3.access_key,
                "GANSERVE_S3_SECRET_KEY": s3.secret_key,
            }
        super().__init__(folder, folder / "models", given | dict(settings or {}))
        self.redis.append_only = ground.append_only
        self.died: list[str] = []
        self.leaving: list[subprocess.Popen[bytes]] = []
        """Workers that were told to end, and may not have."""

    def settings(self) -> Settings:
        """Those of the processes, for whoever looks at the record from outside: past the proxy."""
        names = ("work_dir", "database_url", "blob_url", "s3_access_key", "s3_secret_key")
        known = {name: self.environment.get(f"GANSERVE_{name.upper()}") for name in names}
        given = {name: value for name, value in known.items() if value is not None}
        endpoint = self._s3.endpoint if self._s3 else None
        return Settings(**given, s3_endpoint=endpoint, url_secret=SECRET)  # type: ignore[arg-type]

    def begin(self) -> None:
        self.start()
        names = [self.spawn_worker() for _ in range(WORKERS)]
        for name in names:
            self._await(name, lambda name=name: b" ready." in self.log_path(name).read_bytes(), 120)

    def close(self) -> None:
        for process in self.leaving:
            self.strike(process, signal.SIGKILL)
        super().close()

    def strike(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Send a signal; after SIGKILL it is gone on return."""
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait()

    def kill(self, name: str) -> None:
        self.strike(self.processes.pop(name), signal.SIGKILL)

    def alive(self, name: str) -> bool:
        return name in self.processes and self.processes[name].poll() is None

    def mend(self) -> None:
        """Start again what has ended without being told to."""
        for name, process in list(self.processes.items()):
            if process.poll() is not None:
                self.died.append(f"{name} ({process.returncode})")
                del self.processes[name]
                self.restart(name)

    def restart(self, name: str) -> None:
        """Start `name` (for a worker: another one) unless it runs."""
        if name.startswith("worker"):
            self.spawn_worker()
        elif name not in self.processes:
            self.spawn(name)

    def wake(self) -> None:
        """Whatever is frozen goes on, whatever is away comes back."""
        for process in self.processes.values():
            self.strike(process, signal.SIGCONT)
        if self.redis.process is None:
            self.redis.start()
        self.redis.thaw()
        if self.postgres is not None and self.postgres.process is None:
            self.postgres.start()
        if self.proxy is not None:
            self.proxy.set("pass")
        for name in ("gateway", "reaper"):
            self.restart(name)
        while len(self.workers()) < WORKERS:
            self.spawn_worker()

    def drain(self) -> None:
        """End the workers as a rollout does: what they still do, they have done after it."""
        for name in self.workers():
            self.send_signal(name, signal.SIGCONT)
            self.terminate(name, 60)

    def count_in_worker_logs(self, text: str) -> int:
        return sum(path.read_text(errors="replace").count(text) for path in self.folder.glob("worker*.log"))


@contextlib.contextmanager
def rig(ground: Ground, **settings: str) -> Iterator[Rig]:
    """A rig that runs, with these further GANSERVE_ settings.

    Raises Unavailable if the machine lacks a server or the right to mount a disk.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if ground.blobs == "small disk":
            stack.enter_context(small_disk(folder / "disk"))
        postgres = stack.enter_context(private_postgres()) if ground.database == "postgresql" else None
        s3 = stack.enter_context(private_s3()) if ground.blobs == "s3" else None
        proxy = stack.enter_context(FaultProxy(s3.endpoint)) if s3 else None
        made = Rig(folder, ground, postgres, s3, proxy, settings)
        stack.callback(made.close)
        made.begin()
        yield made


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, that can be filled. Raises Unavailable."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Unavailable("a small disk needs the right to mount one") from None
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
