"""A process tied to ours: it dies when we do, and its end is awaited without polling.

Guarantee, on Linux: however we end, kill -9 included, the kernel sends the child its last signal (prctl(2), the part on
PR_SET_PDEATHSIG, man-pages 6.03). Elsewhere a child outlives a kill -9 of its parent. The kernel means the thread that
forked, so `spawn` belongs to the thread of the event loop, which lives as long as the program.

A small Python sets this up and then becomes the program: no code of ours runs between fork and exec, which is not
safe in a program with threads (and why there is no `preexec_fn`).
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from postback.db.account import Account

# argv: parent's pid, last signal, uid, gid (-1: stay who we are), program and its arguments.
# The order matters: the kernel forgets the last signal when a process changes its user, who may not be able to read
# Python's library, so all imports come first. Python ignores SIGPIPE.
_TIE = """
import ctypes, os, signal, sys
parent, last_signal, uid, gid = map(int, sys.argv[1:5])
libc = ctypes.CDLL(None)
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    libc.prctl(1, last_signal, 0, 0, 0)
if os.getppid() != parent:
    os._exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execv(sys.argv[5], sys.argv[5:])
except OSError as error:
    sys.exit(f"{sys.argv[5]}: {error.strerror}")
"""


def spawn(
    argv: Sequence[str],
    *,
    last_signal: signal.Signals = signal.SIGKILL,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: int | IO[bytes] | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program that gets `last_signal` when we are gone; as `account`, which only root may ask for.

    Its stdout and stderr go to `output`, None: to ours; `inherited` files keep their numbers. It has its own process
    group: a Ctrl-C in the terminal reaches us alone, and we stop our children in order. None for `environment`: ours.
    Raises OSError where there is no such program, or no room for a process.
    """
    program = argv[0] if os.sep in argv[0] else shutil.which(argv[0])
    if program is None:
        raise FileNotFoundError(f"There is no program {argv[0]}.")
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    tie = [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), str(int(last_signal)), str(uid), str(gid)]
    return subprocess.Popen(
        [*tie, program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output if output is None else subprocess.STDOUT,
        cwd=folder,
        env=environment,
        process_group=0,
        pass_fds=inherited,
    )


async def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code, once there is one; minus the signal that killed it. Safe to cancel: the process goes on."""
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def tell(value: int) -> None:
        if not code.done():
            code.set_result(value)

    def watch() -> None:
        value = process.wait()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(tell, value)

    threading.Thread(target=watch, name=f"ended-{process.pid}", daemon=True).start()
    return await code


async def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it has ended, after waiting at most so long."""
    with suppress(TimeoutError):
        await asyncio.wait_for(ended(process), seconds)
    return process.poll() is not None
