"""How many cores this process may use."""

import os
from pathlib import Path

LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time, and in which period


def cores(limit: Path = LIMIT) -> int:
    """By its affinity and its container's limit, of which `os.cpu_count` and torch know nothing."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time_us, period_us = map(int, limit.read_text().split())
    except (OSError, ValueError):  # no container, or one without a limit: "max 100000"
        return allowed
    return max(1, min(allowed, time_us // period_us))
