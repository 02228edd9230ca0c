"""The user that the bundled PostgreSQL runs as, and its way to its folders. It refuses to run as root."""

import os
import pwd
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from postback.errors import PostbackError


class Unusable(PostbackError):
    """This data folder, or this installation, cannot hold the server."""


class Account(NamedTuple):
    """A user of the machine."""

    name: str
    uid: int
    gid: int


def foreign(folder: Path) -> Unusable:
    return Unusable(f"{folder} belongs to another user; run as that user, or give another --data-dir.")


def account_for(folder: Path) -> Account | None:
    """Whom the server runs as: None for ourselves; as root the folder's owner, else `postback`,
    `postgres` or `nobody`, the first that exists."""
    try:
        owner = folder.stat().st_uid if (folder / "PG_VERSION").exists() else None
    except PermissionError:
        raise foreign(folder) from None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise foreign(folder)
        return None
    for candidate in ("postback", "postgres", "nobody") if owner is None else (owner,):
        with suppress(KeyError):
            user = pwd.getpwnam(candidate) if isinstance(candidate, str) else pwd.getpwuid(candidate)
            if user.pw_uid != 0:
                return Account(user.pw_name, user.pw_uid, user.pw_gid)
    if owner:
        return Account(str(owner), owner, folder.stat().st_gid)
    raise Unusable(
        f"PostgreSQL does not run as root and there is no user for it at {folder}; "
        "make a user `postback`, or run as another user, or give another --data-dir."
    )


def open_parents(data_dir: Path, bin_dir: Path, account: Account) -> None:
    """Let the server's user pass through to its folder and its binaries: at most o+x on folders, and we say so."""
    for folder in [*reversed(bin_dir.parents), bin_dir, *reversed(data_dir.parents), data_dir]:
        if not _may_use(folder, account, stat.S_IXOTH):
            try:
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
            except OSError as error:
                message = f"The user {account.name}, who runs PostgreSQL, cannot enter {folder}; "
                raise Unusable(message + "give another --data-dir.") from error
            sys.stderr.write(f"postback: o+x on {folder}, so that the user {account.name} can run PostgreSQL.\n")
    if not _may_use(bin_dir / "postgres", account, stat.S_IXOTH | stat.S_IROTH):
        message = f"The user {account.name}, who runs PostgreSQL, may not read {bin_dir}; "
        raise Unusable(message + "install Postback with umask 022, or run it as another user.")


def _may_use(path: Path, account: Account, bits_of_others: int) -> bool:
    status = path.stat()
    if status.st_uid == account.uid:
        shift = 6
    elif status.st_gid == account.gid:
        shift = 3
    else:
        shift = 0
    return status.st_mode >> shift & bits_of_others == bits_of_others
