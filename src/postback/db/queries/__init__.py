"""Named queries: `Queries("keys").insert` is the statement under `-- insert:` in `keys.sql` beside this file."""

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- ([a-z_]+): ", re.MULTILINE)


class Queries:
    """The statements of one room's file, as attributes."""

    def __init__(self, room: str) -> None:
        self._room = room
        self.all = statements(room)

    def __getattr__(self, name: str) -> bytes:
        try:
            return self.all[name]
        except KeyError:
            raise AttributeError(f"{self._room}.sql has no statement named {name}") from None


@cache
def statements(room: str) -> dict[str, bytes]:
    """Statement by name; the comment lines above each stay with it, so that logs of the database show the name."""
    text = (Path(__file__).parent / f"{room}.sql").read_text()
    starts = list(_NAME.finditer(text))
    ends = [m.start() for m in starts[1:]] + [len(text)]
    return {m[1]: _statement(text[m.start() : end]) for m, end in zip(starts, ends, strict=True)}


def _statement(block: str) -> bytes:
    lines = block.strip().splitlines()
    body = [line for line in lines if not line.startswith("--")]
    return "\n".join([lines[0].split(":")[0], *body]).strip().rstrip(";").encode()


def rooms() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.sql"))
