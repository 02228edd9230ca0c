"""Commands as processes of their own that need not import everything anew: forked from one that did.

What such a process has of its own is what a started one has: arguments, environment, standard streams, an exit code.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from subprocess import CompletedProcess

import postback

LIBRARIES = ["postback.cli.app", "postback.cli.session", "postback.destinations", "postback.installation", "uvloop"]
SECONDS = 60


@cache
def _mother() -> ForkServerContext:
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(LIBRARIES)
    return found


def run(arguments: Sequence[str], environment: Mapping[str, str], stdin: str | None = None) -> CompletedProcess[str]:
    """Like `python -m postback` with these arguments, run to its end. Raises TimeoutError."""
    with tempfile.TemporaryDirectory(prefix="postback-command-") as folder:
        streams = [Path(folder) / name for name in ("in", "out", "err")]
        streams[0].write_text(stdin or "")
        child = _mother().Process(target=_command, args=(list(arguments), dict(environment), os.getcwd(), streams))
        child.start()
        child.join(SECONDS)
        if child.exitcode is None:
            child.kill()
            raise TimeoutError(f"postback {' '.join(arguments)}: not over after {SECONDS} seconds")
        return CompletedProcess(list(arguments), child.exitcode, streams[1].read_text(), streams[2].read_text())


def _command(arguments: list[str], environment: dict[str, str], folder: str, streams: Sequence[Path]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(streams):
        os.dup2(os.open(path, os.O_CREAT | (os.O_WRONLY if number else os.O_RDONLY)), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = [str(Path(postback.__file__).with_name("__main__.py")), *arguments]
    from postback.cli import main

    main()
