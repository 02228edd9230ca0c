"""The file: TOML 1.0, or JSON of the same shape. Pure: bytes in, a declaration out; and back, as TOML.

A file that begins with `{` is JSON. Numbers keep their digits: none is read as binary floating point on its way.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.json import Decoder

from postback.declared import Declaration
from postback.dialects import decode
from postback.errors import Invalid

MAX_BYTES = 4_000_000
_BARE = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_decoder = Decoder(Declaration)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Table(Struct, frozen=True):
    """One table of a list. `comment`: a line above it."""

    values: Mapping[str, Any]
    comment: str = ""


def read(content: bytes) -> Declaration:
    """Raises Invalid, whose message names the place."""
    if len(content) > MAX_BYTES:
        raise Invalid(f"The file has more than {MAX_BYTES} bytes; a configuration has not.", malformed=True)
    return decode(_decoder, content if content.lstrip().startswith(b"{") else as_json(content))


def as_json(content: bytes) -> bytes:
    """A file in TOML as JSON. Raises Invalid."""
    try:
        return _encoder.encode(tomllib.loads(content.decode(), parse_float=_number))
    except UnicodeDecodeError:
        raise Invalid("The file is not UTF-8.", malformed=True) from None
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"The file is not valid TOML: {_decapitalised(str(error))}.", malformed=True) from None
    except (RecursionError, ValueError, OverflowError):
        raise Invalid("The file is nested too deeply, or a number in it is too long.", malformed=True) from None


def _number(text: str) -> Decimal | str:
    """A TOML float; inf and nan as text, which every field for a number refuses by name."""
    number = Decimal(text)
    return number if number.is_finite() else text


def _decapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def write(head: str, workspace: Mapping[str, Any], lists: Mapping[str, Sequence[Table]]) -> str:
    """A file. `head`: lines of a comment above all."""
    parts = ["".join(f"# {line}\n" for line in head.splitlines()), "[workspace]\n" + _pairs(workspace)]
    for name, tables in lists.items():
        for table in tables:
            comment = f"# {table.comment}\n" if table.comment else ""
            parts.append(f"{comment}[[{name}]]\n{_pairs(table.values)}")
            parts += [
                f"[{name}.{_key(inner)}]\n{_pairs(value, inline=True)}"
                for inner, value in table.values.items()
                if isinstance(value, Mapping)
            ]
    return "\n".join(parts)


def _pairs(values: Mapping[str, Any], *, inline: bool = False) -> str:
    """`name = value`, one a line; tables within are written by themselves unless `inline`."""
    plain = (
        (name, value)
        for name, value in values.items()
        if value is not None and (inline or not isinstance(value, Mapping))
    )
    return "".join(f"{_key(name)} = {_lines(value)}\n" for name, value in plain)


def _lines(value: Any) -> str:
    """A value; a list of tables with a line for each."""
    if isinstance(value, list) and value and all(isinstance(held, Mapping) for held in value):
        return "[\n" + "".join(f"  {_value(held)},\n" for held in value) + "]"
    return _value(value)


def _key(name: str) -> str:
    return name if _BARE(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(n)} = {_value(held)}" for n, held in value.items() if held is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(held) for held in value) + "]"
    return str(value)


def _text(text: str) -> str:
    """A basic string: as in JSON, but for DEL."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
