"""The bundled server's folders: making them, the way to its socket, what a start writes."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from postback.db import tools
from postback.db.account import Account, Unusable, foreign
from postback.db.server_settings import PORT

LONGEST_SOCKET_PATH_BYTES = 100  # the kernel takes 107, macOS 103
LARGEST_LOG_BYTES = 1_000_000


def exists(folder: Path) -> bool:
    return (folder / "PG_VERSION").exists()


def major(folder: Path) -> int | None:
    try:
        return int((folder / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise foreign(folder) from None


def useless(data_dir: Path, error: OSError) -> Unusable:
    return Unusable(f"{data_dir} cannot be used ({error.strerror}); give another --data-dir.")


def make_data_dir(data_dir: Path) -> Path:
    data_dir = data_dir.resolve()
    try:
        # As root another user must pass through to the server's folder; it can list nothing here.
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise useless(data_dir, error) from error
    return data_dir


async def initialize(data_dir: Path, bin_dir: Path, account: Account | None, *, is_synced: bool) -> None:
    """Make the server's folder: beside its place, then moved there, so a kill in between leaves nothing half made."""
    new = data_dir / "postgres.new"
    _make_private(new, account)
    options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    options += ["--auth-local=trust", "--auth-host=reject"]  # the socket's folder is the guard
    if not is_synced:
        options.append("--no-sync")
    try:
        (data_dir / "postgres").rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise useless(data_dir / "postgres", error) from error
    try:
        await tools.run(bin_dir / "initdb", *options, f"--pgdata={new}", account=account)
        new.rename(data_dir / "postgres")
        _sync(data_dir)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _sync(folder: Path) -> None:
    """Make what was renamed in a folder, and the folder itself, survive a loss of power."""
    for entry in (folder, folder.parent):
        descriptor = os.open(entry, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _make_private(folder: Path, account: Account | None) -> None:
    """An empty folder that only the server's user can enter, in place of what was there."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.uid, account.gid)


def make_socket_dir(data_dir: Path, account: Account | None) -> Path:
    place = data_dir / "socket"
    remove_socket(data_dir)
    path = os.fsencode(place / f".s.PGSQL.{PORT}")
    if len(path) <= LONGEST_SOCKET_PATH_BYTES and b"," not in path:  # libpq takes a comma for the end of a host
        _make_private(place, account)
        return place
    root = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) < 60 else "/tmp"  # noqa: S108
    private = Path(tempfile.mkdtemp(prefix="postback-", dir=root)).resolve()
    if account:
        os.chown(private, account.uid, account.gid)
    place.symlink_to(private)  # for the next start to find and remove after a kill
    return private


def remove_socket(data_dir: Path) -> None:
    place = data_dir / "socket"
    if place.is_symlink():
        private = place.readlink()
        if private.name.startswith("postback-"):
            shutil.rmtree(private, ignore_errors=True)
        place.unlink(missing_ok=True)
    else:
        shutil.rmtree(place, ignore_errors=True)


def write_start(data_dir: Path, config: str, account: Account | None) -> tuple[IO[bytes], int]:
    """Write the settings and open the log; gives it, and where this start begins in it."""
    path = data_dir / "postgresql.conf"
    if not path.exists() or path.read_text() != config:  # unchanged, it asks nothing of a full disk
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        part.write_text(config)
        part.chmod(0o640)
        if account:
            os.chown(part, 0, account.gid)
        part.replace(path)
    log_path = data_dir / "postgres.log"
    if log_path.exists() and log_path.stat().st_size > LARGEST_LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    output = os.fdopen(os.open(log_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab")
    return output, log_path.stat().st_size
