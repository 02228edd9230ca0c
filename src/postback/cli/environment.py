"""The environment: what commands read from it, and how `serve` hands its settings to its children.

Children get every setting as a POSTBACK_* variable, the database's address too: other users can read arguments.
"""

import os
from collections.abc import Mapping

from postback.secret import Secret
from postback.settings import PREFIX, Settings, load

# Of the client's commands; not settings of a deployment.
KEY = "POSTBACK_KEY"
URL = "POSTBACK_URL"
# Of secrets that a declared configuration refers to.
SECRETS = "POSTBACK_SECRET_"


def settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of our environment, under those of the command line. Raises SettingsError."""
    ours = {n: v for n, v in os.environ.items() if n not in (KEY, URL) and not n.startswith(SECRETS)}
    return load(ours, overrides)


def for_child(settings: Settings) -> dict[str, str]:
    """Our environment with exactly these settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    tests = {name: value for name, value in os.environ.items() if name.startswith(f"{PREFIX}TEST_")}
    given = {f"{PREFIX}{name.upper()}": getattr(settings, name) for name in settings.__struct_fields__}
    return ours | tests | {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    return str(value).lower() if isinstance(value, bool) else str(value)
