"""The options that commands share."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from postback.cli import environment
from postback.settings import Settings

Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Place:
    """Which installation; options win over POSTBACK_* variables, and these over the file."""

    data_dir: Annotated[Path | None, Parameter(help="Folder of the embedded database. [./postback-data]")] = None
    database_url: Annotated[str | None, Parameter(help="DSN of your own PostgreSQL, 16 or later.")] = None
    config: Annotated[Path | None, Parameter(help="TOML file with settings.")] = None

    def settings(self) -> Settings:
        """Raises SettingsError."""
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return environment.settings({n: str(v) if isinstance(v, Path) else v for n, v in given.items()})


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Founding(Place):
    """What the first start fixes."""

    environment: Annotated[
        Literal["live", "test"] | None, Parameter(help="Whose keys are accepted; fixed at the first start. [live]")
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Listening(Founding):
    """Where HTTP is answered."""

    host: Annotated[str | None, Parameter(help="Address to listen on; 0.0.0.0: every interface. [127.0.0.1]")] = None
    port: Annotated[int | None, Parameter(help="Port to listen on. [8080]")] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Serving(Listening):
    """How many processes."""

    api_processes: Annotated[int | None, Parameter(help="Processes that answer HTTP. [1]")] = None
    worker_processes: Annotated[int | None, Parameter(help="Processes that deliver. [1]")] = None


HERE = Place()
FOUNDING = Founding()
LISTENING = Listening()
SERVING = Serving()
