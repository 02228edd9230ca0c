"""What people and scripts read on stdout: lines, tables, JSON.

Where a sentence tells what to run, as `postback ...`, it is shown as this program was called.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

WIDTH_IN_FILES = 200


def say(text: str = "") -> None:
    """One line, as it stands: never wrapped, never coloured."""
    sys.stdout.write(f"{as_called(text)}\n")
    sys.stdout.flush()


def as_called(text: str) -> str:
    """With each `postback ...` as a shell finds this program here."""
    return text.replace("`postback ", f"`{_program()} ")


@cache
def _program() -> str:
    """`postback` where PATH leads to it, else its path, from the current folder where it is below."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        script = Path(sys.executable).with_name("postback")
    if not script.is_file():
        return f"{sys.executable} -m postback"
    found = shutil.which(script.name)
    if found is not None and os.path.samefile(found, script):
        return script.name
    below = os.path.relpath(script)
    return str(script.absolute()) if below.startswith("..") else below


def as_json(value: Any) -> None:
    """One JSON value on one line."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """A table for people; `empty` is said where it has no rows."""
    if not rows:
        say(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name, overflow="fold", no_wrap=name == "id")
    for row in rows:
        shown.add_row(*(Text("" if value is None else str(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else WIDTH_IN_FILES).print(shown)


def quoted(text: str) -> str:
    """Text as one word of a shell."""
    import shlex

    return shlex.quote(text)


def curl(url: str, key: str, event: dict[str, Any]) -> str:
    """A curl command that posts an event, one option a line."""
    body = quoted(msgspec.json.encode(event).decode())
    return " \\\n  ".join(
        [
            f"curl -sS {quoted(url)}",
            f"-H {quoted(f'Authorization: Bearer {key}')}",
            "-H 'Content-Type: application/json'",
            f"-d {body}",
        ]
    )
