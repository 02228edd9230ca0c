"""What can be learned from outside about the server of a folder, and the end of one that nobody owns any more.

Read: `postmaster.pid` (PostgreSQL 18, miscadmin.h: its lines), the answer to a login, /proc on Linux.
"""

import asyncio
import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from postback.db.account import foreign
from postback.db.server_settings import PORT

log = logging.getLogger(__name__)

HAS_PROC = Path("/proc/self/comm").exists()


def dsn_of(socket_dir: str) -> str:
    return f"postgresql://postgres@/postback?host={quote(socket_dir, safe='')}&port={PORT}"


def state(folder: Path) -> tuple[int, str, str]:
    """Pid, socket folder and status, as `postmaster.pid` has them (its lines 1, 5, 8); zeros where it is not there."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return 0, "", ""
    except PermissionError:
        raise foreign(folder) from None
    if len(lines) < 8 or not lines[0].isdigit():  # being written
        return 0, "", ""
    return int(lines[0]), lines[4], lines[7].strip()


async def answer(socket_dir: str) -> str | None:
    """What the server says to a login in our database: "" if it lets us in, else its SQLSTATE; None: no answer.

    By hand (protocol 3.0, PostgreSQL 18 manual, 54.7): the supervisor then needs no driver in its memory.
    """
    login = b"\0\3\0\0user\0postgres\0database\0postback\0\0"
    with suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_unix_connection(f"{socket_dir}/.s.PGSQL.{PORT}")
            try:
                writer.write((len(login) + 4).to_bytes(4) + login)
                while True:
                    kind = await reader.readexactly(1)
                    body = await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)
                    if kind == b"E":
                        return next(field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C")
                    if kind == b"Z":
                        writer.write(b"X\0\0\0\4")
                        return ""
            finally:
                writer.close()
    return None


def processes(folder: Path) -> list[int]:
    """Processes of a server in this folder, its sessions included; by /proc, so empty elsewhere than on Linux."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended, or not ours to see
            if (entry / "comm").read_text().strip() == "postgres" and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


async def clear(folder: Path) -> None:
    """End what is left of a server whose owner died: fast and in order, then at once, then by kill. Loses nothing.

    Sessions can outlive a killed server while they compute, and a new one refuses to start beside them. It also refuses
    while another program has the pid that `postmaster.pid` names, which is usual when a container starts again.
    """
    for number, patience_seconds in ((signal.SIGINT, 60), (signal.SIGQUIT, 6), (signal.SIGKILL, 5)):
        main, socket_dir, _ = state(folder)
        pids = processes(folder)
        if not pids and main and not HAS_PROC and await answer(socket_dir) is not None:
            pids = [main]
        if not pids:
            if HAS_PROC and main and _is_alive(main):
                (folder / "postmaster.pid").unlink(missing_ok=True)
            return
        log.warning("embedded.orphan", extra={"pids": pids, "signal": number.name})
        is_led = main in pids and number != signal.SIGKILL
        for pid in [main] if is_led else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:  # noqa: ASYNC110 (not our children)
            await asyncio.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except FileNotFoundError:
        return not HAS_PROC
