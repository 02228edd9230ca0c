"""`python -m bench [part ...]`: all parts, or some of idle, intake, collect, drain, stored, identity (no page then).

QUICK=1 in the environment: fewer and shorter turns, fewer events stored. Progress goes to stderr, the table to stdout.
Exit code 1 where it could not be measured; a target that is missed is marked in the table and does not fail it.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from bench import collect, database, drain, identity, idle, intake, machine, page, stored
from bench.plan import FULL, QUICK, Plan
from bench.process import FOLDER, BenchError, progress
from bench.report import Report, rate
from postback.errors import PostbackError

PARTS = ("idle", "intake", "collect", "drain", "stored", "identity")


async def run(parts: Sequence[str], plan: Plan, report: Report) -> str:
    """Measure the parts; gives the machine in words."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    report.add("fdatasync, one after the other", "the disk", f"{rate(machine.fdatasync_per_second(FOLDER))} times/s")
    if "idle" in parts:
        await idle.measure(report, plan)
    single_posts: float | None = None
    async with database.server() as server:
        words = machine.in_words(await database.version(server))
        if "intake" in parts:
            single_posts = await intake.measure(report, plan, server)
        if "collect" in parts:
            await collect.measure(report, plan, server)
        if "drain" in parts:
            await drain.measure(report, plan, server, single_posts)
        if "stored" in parts:
            await stored.measure(report, plan, server)
        if "identity" in parts:
            await identity.measure(report, plan, server)
    return words


@contextmanager
def folder() -> Generator[None]:
    """Our folder, without what an earlier run left in it, for us alone; raises BenchError. Only logs stay."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError("another benchmark is running; two at once would measure each other") from None
        for left in ("server", "serve", "logs"):
            shutil.rmtree(FOLDER / left, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(FOLDER / "server", ignore_errors=True)


def main() -> int:
    parts = sys.argv[1:] or PARTS
    if unknown := set(parts) - set(PARTS):
        print(f"There is no part {min(unknown)}; there are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    plan = QUICK if os.environ.get("QUICK") not in (None, "", "0") else FULL
    report, begin = Report(), time.monotonic()
    words = ""
    try:
        with folder():
            words = asyncio.run(run(parts, plan, report))
    except (BenchError, PostbackError) as error:
        progress(f"bench: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        progress("bench: stopped")
    minutes = (time.monotonic() - begin) / 60
    print(report.table())
    if not words:
        return 1
    print(f"{page.summary(plan, words)} It took {minutes:.1f} minutes. Targets missed: {report.missed()}.")
    if set(parts) == set(PARTS):
        page.write(report, plan, words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
