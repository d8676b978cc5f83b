"""`python deploy/lock.py`: pins what the images install, with hashes, in deploy/requirements/*.txt.

From pyproject.toml, for Python 3.11 on Linux, with uv (`pip install uv`). The CPU variant's torch comes from
an index of its own, which the build names; so `worker-cpu.txt` is without torch.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "requirements"
LOCKS = {
    "api": ("api", "postgres", "otel"),
    "worker-cpu": ("worker", "postgres", "otel", "runtimes"),
    "worker-gpu": ("worker", "postgres", "otel", "gpu"),
}
"""Image -> extras of pyproject.toml."""


def wanted(lock: str) -> list[str]:
    """The requirements that an image's lock has to meet."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in LOCKS[lock] for line in extras[extra])]
    return [line for line in lines if not (lock == "worker-cpu" and re.match(r"torch\b", line))]


def pinned(lock: str) -> str:
    """The lock's text."""
    options = ["--generate-hashes", "--no-annotate", "--no-header", "--python-version", "3.11"]
    done = subprocess.run(
        ["uv", "pip", "compile", "--quiet", "--python-platform", "linux", *options, "-"],
        input="\n".join(wanted(lock)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    for name in LOCKS:
        (FOLDER / f"{name}.txt").write_text(pinned(name))
