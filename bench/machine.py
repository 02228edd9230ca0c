"""What it ran on, in words, and how often its disk can make a small write durable."""

import os
import platform
import re
import time
from pathlib import Path

BLOCK = b"\0" * 8192


def in_words(postgresql: str) -> str:
    """Cores, processor, memory, kernel, versions; no names of hosts and no paths."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = re.match(r"[\d.]*\d", platform.release())
    system = f"{platform.system()} {kernel[0] if kernel else ''}".strip()
    return (
        f"{cores} {'core' if cores == 1 else 'cores'} ({_processor()}), {memory:.0f} GiB of memory, {system}, "
        f"Python {platform.python_version()}, PostgreSQL {postgresql}"
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def fdatasync_per_second(folder: Path, seconds: float = 2.0) -> float:
    """Writes of 8 KiB, one after the other into a file of 1 MiB, each made durable."""
    file = folder / "fdatasync"
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        os.write(descriptor, BLOCK * 128)
        os.fsync(descriptor)
        times, begin = 0, time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            os.pwrite(descriptor, BLOCK, times % 128 * len(BLOCK))
            os.fdatasync(descriptor)
            times += 1
        return times / (now - begin)
    finally:
        os.close(descriptor)
        file.unlink()
