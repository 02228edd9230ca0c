"""`postback serve` with nothing to do: memory of each of its processes, CPU of all of them, PostgreSQL included."""

import asyncio
import shutil
import time

from bench import resources, serve
from bench.plan import Plan
from bench.process import FOLDER, progress
from bench.report import Report

MOST_PYTHON_MB = 250
MOST_CPU_PERCENT = 2


async def measure(report: Report, plan: Plan) -> None:
    progress("idle: postback serve")
    data_dir = FOLDER / "serve"
    try:
        async with serve.serve(data_dir) as program:
            await asyncio.sleep(plan.settle)
            before, begin = resources.family(program.pid), time.perf_counter()
            used = resources.cpu_seconds(before)
            await asyncio.sleep(plan.idle)
            after = resources.family(program.pid)
            cpu_percent = 100 * (resources.cpu_seconds(after) - used) / (time.perf_counter() - begin)
            _report(report, program.pid, after, cpu_percent, plan.idle)
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)


def _report(report: Report, root: int, pids: list[int], cpu_percent: float, seconds: int) -> None:
    pythons = [pid for pid in pids if resources.is_python(pid)]
    sizes = {pid: resources.rss_mb(pid) for pid in pythons}
    for pid in pythons:
        report.add("memory, idle", f"Postback: {_role(pid, root)}", f"{sizes[pid]:.0f} MB")
    row = report.add("memory, idle", "Postback: all Python processes of serve", f"{sum(sizes.values()):.0f} MB")
    row.at_most(sum(sizes.values()), MOST_PYTHON_MB, "MB")
    others = sum(resources.pss_mb(pid) for pid in pids if pid not in sizes)
    report.add("memory, idle", "PostgreSQL of serve, shared pages once", f"{others:.0f} MB")
    row = report.add("CPU, idle", f"serve with PostgreSQL, over {seconds} s", f"{cpu_percent:.1f} % of a core")
    row.check(cpu_percent < MOST_CPU_PERCENT, f"{cpu_percent:.1f} % (less than {MOST_CPU_PERCENT} %)")


def _role(pid: int, root: int) -> str:
    if pid == root:
        return "serve (keeps the others alive)"
    words = resources.command(pid).split()
    return next((word for word in words if word in ("api", "worker")), "another process")
