"""How each kind of fault is done to a rig. Each returns what ends it; None: there was nothing to hit."""

import contextlib
import random
import signal
from collections.abc import Callable

import redis

from tests.chaos.proxy import Mode
from tests.chaos.rig import Rig

End = Callable[[], None]
PIECE = bytes(64 * 1024)


def nothing() -> None:
    """The end of a fault that is over as soon as it is done."""


class Faults:
    """`begin("redis_kill")` does it; the kinds are the names of methods."""

    def __init__(self, rig: Rig, rng: random.Random) -> None:
        self.rig, self.rng = rig, rng

    def begin(self, kind: str) -> End | None:
        done: End | None = getattr(self, kind)()
        return done

    def worker_kill(self) -> End | None:
        return self._kill(self._worker())

    def worker_stop(self) -> End | None:
        """SIGTERM, and SIGKILL if that took too long."""
        name = self._worker()
        if name is None:
            return None
        process = self.rig.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        self.rig.leaving.append(process)

        def replace() -> None:
            self.rig.strike(process, signal.SIGKILL)
            self.rig.spawn_worker()

        return replace

    def worker_freeze(self) -> End | None:
        return self._freeze(self._worker())

    def gateway_kill(self) -> End | None:
        return self._kill("gateway")

    def gateway_freeze(self) -> End | None:
        return self._freeze("gateway")

    def reaper_kill(self) -> End | None:
        return self._kill("reaper")

    def dispatcher_kill(self) -> End | None:
        return self._kill("dispatcher")

    def dispatcher_freeze(self) -> End | None:
        return self._freeze("dispatcher")

    def redis_kill(self) -> End | None:
        self.rig.redis.kill()
        return self._start_redis

    def redis_freeze(self) -> End | None:
        server = self.rig.redis
        if server.process is None:
            return None
        server.freeze()
        return lambda: server.thaw() if server.process is not None else None

    def redis_flush(self) -> End | None:
        return self._tell_redis(("FLUSHALL",))

    def redis_reset(self) -> End | None:
        """Every connection to it breaks."""
        return self._tell_redis(
            ("CLIENT", "KILL", "TYPE", "pubsub"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        )

    def postgres_crash(self) -> End | None:
        server = self.rig.postgres
        assert server is not None
        if server.process is None:
            return None
        server.crash()
        return lambda: server.start() if server.process is None else None

    def postgres_disconnect(self) -> End | None:
        """Every connection to the database breaks."""
        import psycopg

        assert self.rig.postgres is not None
        others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(self.rig.postgres.url, autocommit=True, connect_timeout=5) as connection:
                connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            return nothing
        return None

    def s3_error(self) -> End | None:
        return self._network("error")

    def s3_stall(self) -> End | None:
        return self._network("stall")

    def s3_reset(self) -> End | None:
        return self._network("reset")

    def disk_full(self) -> End | None:
        filler = self.rig.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(PIECE):
                pass
        return lambda: filler.unlink(missing_ok=True)

    # --- how ---------------------------------------------------------------------------------------------

    def _worker(self) -> str | None:
        found = [name for name in self.rig.workers() if self.rig.alive(name)]
        return self.rng.choice(found) if found else None

    def _kill(self, name: str | None) -> End | None:
        if name is None or not self.rig.alive(name):
            return None
        self.rig.kill(name)
        return lambda: self.rig.restart(name)

    def _freeze(self, name: str | None) -> End | None:
        if name is None or not self.rig.alive(name):
            return None
        process = self.rig.processes[name]
        self.rig.strike(process, signal.SIGSTOP)
        return lambda: self.rig.strike(process, signal.SIGCONT)

    def _start_redis(self) -> None:
        if self.rig.redis.process is None:
            self.rig.redis.start()

    def _tell_redis(self, *commands: tuple[str, ...]) -> End | None:
        with contextlib.suppress(redis.RedisError):
            with redis.Redis.from_url(self.rig.redis.redis_url, socket_timeout=1) as connection:
                for command in commands:
                    connection.execute_command(*command)
            return nothing
        return None

    def _network(self, mode: Mode) -> End:
        proxy = self.rig.proxy
        assert proxy is not None
        proxy.set(mode)
        return lambda: proxy.set("pass")
