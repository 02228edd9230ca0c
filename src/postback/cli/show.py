"""What people and scripts read on stdout: lines, tables, JSON."""

import sys
from collections.abc import Sequence
from typing import Any

import msgspec

WIDTH_IN_FILES = 200


def say(text: str = "") -> None:
    """One line, as it stands: never wrapped, never coloured."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
