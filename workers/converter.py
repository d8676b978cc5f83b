"""Runs the checkpoint converter in a child with limits: an uploaded file may be hostile, or merely huge.

The child is `python -m generative.convert`, a fresh interpreter in a session of its own, with no
environment but PATH and Python's own, an empty working directory, and limits on address space, processor
time, file size and open files.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import BadCheckpoint, JobFailed

ROOT = Path(__file__).parents[1]
MODULE = "generative.convert"
REFUSED = 3  # exit status of the converter for a file that it will not read; the reason is on stderr
LOOK_S = 0.2
MESSAGE_BYTES = 64 * 1024
OVERRUN = (-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ)
OUT_OF_ROOM = (
    "MemoryError",
    "can't allocate memory",
    "bad_alloc",
    "File too large",
)  # Python, torch, C++, the kernel
GiB = 1024**3
BEGIN = """
import os, resource, sys
count = int(sys.argv[1])
for limit in sys.argv[2 : 2 + count]:
    name, value = map(int, limit.split("="))
    resource.setrlimit(name, (value, value))
command = sys.argv[2 + count :]
os.execv(command[0], command)
"""


@dataclass(frozen=True)
class Limits:
    """For one file. Address space counts what is mapped, and torch alone maps several GiB."""

    memory_bytes: int
    file_bytes: int
    cpu_s: int = 900
    wall_s: float = 1200
    open_files: int = 256

    @staticmethod
    def for_file(size_bytes: int) -> "Limits":
        """Room for the file, its tensors and their converted copies."""
        return Limits(memory_bytes=12 * GiB + 6 * size_bytes, file_bytes=2 * size_bytes + GiB // 4)

    def around(self, command: Sequence[str]) -> list[str]:
        """The command with these limits, which its own process sets before it begins: from outside it would
        run on without them meanwhile, and code between fork and exec may deadlock in threads.
        """
        limits = {
            resource.RLIMIT_AS: self.memory_bytes,
            resource.RLIMIT_FSIZE: self.file_bytes,
            resource.RLIMIT_CPU: self.cpu_s,
            resource.RLIMIT_NOFILE: self.open_files,
            resource.RLIMIT_CORE: 0,
        }
        words = [f"{name}={value}" for name, value in limits.items()]
        return [sys.executable, "-ISc", BEGIN, str(len(words)), *words, *command]


def convert(
    file: Path,
    folder: Path,
    name: str,
    licence: str | None,
    alive: Callable[[], None],
    limits: Limits | None = None,
) -> None:
    """Convert a checkpoint into the model folder `folder`.

    `alive` is called while the child runs, and may raise; the child is killed then.
    Raises BadCheckpoint with the converter's code, or JobFailed if the converter broke.
    """
    arguments = [str(file), str(folder), "--name", name]
    if licence is not None:
        arguments += ["--licence", licence]
    command = [sys.executable, "-P", "-m", MODULE, *arguments]
    run_limited(command, limits or Limits.for_file(file.stat().st_size), alive)


def read_directions(
    file: Path,
    folder: Path,
    name: str,
    target: Mapping[str, int],
    alive: Callable[[], None],
    *,
    space: str | None = None,
    first: int | None = None,
) -> None:
    """Make a foreign file of directions the set `name` of `folder`.

    target: z_dim, and w_dim and num_ws for a model that has a W. `alive` and what is raised: see `convert`.
    """
    words = {"name": name, **target, "space": space, "first": first}
    arguments = [f"--{word.replace('_', '-')}={value}" for word, value in words.items() if value is not None]
    command = [sys.executable, "-P", "-m", MODULE, "directions", str(file), str(folder), *arguments]
    run_limited(command, Limits.for_file(file.stat().st_size), alive)


def run_limited(command: Sequence[str], limits: Limits, alive: Callable[[], None]) -> None:
    """Run `command` to its end. Raises as `convert` does."""
    with tempfile.TemporaryDirectory(prefix="convert-") as empty, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            limits.around(command),
            env=_environment(),
            cwd=empty,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            _watch(child, limits.wall_s, alive)
        finally:
            _kill_group(child)
        if child.returncode:
            stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - MESSAGE_BYTES))
            raise _reason(child.returncode, stderr.read().decode(errors="replace"))


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _watch(child: subprocess.Popen[bytes], wall_s: float, alive: Callable[[], None]) -> None:
    ends_at = time.monotonic() + wall_s
    while child.poll() is None:
        alive()
        if time.monotonic() > ends_at:
            raise BadCheckpoint(f"reading the file took longer than {wall_s:g} s", code="too_large")
        try:
            child.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            continue


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """The child and whatever it started; it leads its own group."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _reason(status: int, stderr: str) -> Exception:
    """What a failed converter's exit means for the caller."""
    if status == REFUSED:
        try:
            said = json.loads(stderr.strip().splitlines()[-1])
            return BadCheckpoint(str(said["detail"]), code=str(said["code"]))
        except (ValueError, LookupError, TypeError):
            return BadCheckpoint()
    if status in OVERRUN or any(words in stderr for words in OUT_OF_ROOM):
        return BadCheckpoint("reading the file took more memory or time than is allowed", code="too_large")
    return JobFailed(f"the converter ended with status {status}", code="converter_failed")
