"""What a connector's Config struct says of its fields, besides their types."""

import os
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, get_type_hints

from msgspec import Meta

from postback.connectors import Connector

MADE_SECRET_BYTES = 32


def meta_of(hint: Any) -> Meta:
    """The outermost Meta, which holds title and description."""
    metas = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, Meta)]
    return metas[-1] if metas else Meta()


def made_secrets(connector: Connector, sent: Mapping[str, Any]) -> dict[str, str]:
    """Secrets that we make where they are absent, by field."""
    made: dict[str, str] = {}
    for name, hint in get_type_hints(connector.config, include_extras=True).items():
        prefix = (meta_of(hint).extra or {}).get("made")
        if prefix is not None and sent.get(name) is None:
            made[name] = prefix + b64encode(os.urandom(MADE_SECRET_BYTES)).decode()
    return made
