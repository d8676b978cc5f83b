"""Run every benchmark in this folder, each in a process of its own; the exit code is 1 if one failed.

`python -m bench chaos http`: only those whose names begin so.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    """Benchmarks are the modules beside this one that can be run, in the order of their names."""
    failed, wanted = [], tuple(sys.argv[1:]) or ("",)
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        if not path.stem.startswith(wanted) or '__name__ == "__main__"' not in path.read_text():
            continue
        print(f"\n== {path.stem}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{path.stem}"], cwd=FOLDER.parent)
        failed += [path.stem] if done.returncode else []
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
