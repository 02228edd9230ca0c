"""`--set field=value`: fields of something that is made or changed. A value is JSON where it is, else text; text of a
list's field is its items, with commas between them."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from cyclopts import Parameter
from msgspec import Raw, Struct
from msgspec.json import Decoder

from postback.cli.failures import WrongUsage
from postback.dialects import decode

T = TypeVar("T", bound=Struct)
Set = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="field=value, named as in the admin API; may be repeated. JSON if it is; a list's items with commas.",
    ),
]


def read(kind: type[T], pairs: Sequence[str], **given: str) -> T:
    """Fields as one of the admin API's bodies. Raises WrongUsage, Invalid."""
    parts = {name: Raw(msgspec.json.encode(value)) for name, value in given.items()}
    lists = {field.name for field in msgspec.structs.fields(kind) if _is_list(field.type)}
    for pair in pairs:
        field, equals, value = pair.partition("=")
        if not equals:
            raise WrongUsage(f"--set takes field=value, not {field}.")
        if field not in kind.__struct_fields__:
            raise WrongUsage(f"There is no field {field}; there are {', '.join(kind.__struct_fields__)}.")
        parts[field] = _json(value, value.split(",") if field in lists else value)
    return decode(Decoder(kind), msgspec.json.encode(parts))


def _is_list(type_: Any) -> bool:
    return get_origin(type_) is list or any(map(_is_list, get_args(type_)))


def _json(text: str, else_: str | list[str]) -> Raw:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return Raw(msgspec.json.encode(else_))
    return Raw(text.encode())
