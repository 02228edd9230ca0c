"""Settings: one frozen struct, read once at start from POSTBACK_* variables and, optionally, a TOML file.

Later ones win: default, file (`--config` or POSTBACK_CONFIG; keys are the fields below), environment (POSTBACK_ and the
field in capitals), command line. An empty variable is as good as absent. A key that nobody knows is an error that names
the nearest one.
"""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from postback.secret import Secret

Network = IPv4Network | IPv6Network
PREFIX = "POSTBACK_"
CONFIG = "POSTBACK_CONFIG"
# Ours, but read elsewhere: where the file is, and what the tests are told.
_OTHER_VARIABLES = frozenset({CONFIG, "POSTBACK_CONTRACT_DOCUMENTS"})
_TESTS = "POSTBACK_TEST_"


class SettingsError(Exception):
    """A sentence for the operator: which setting is wrong and what to do. It never holds a value."""


def _about(description: str, unit: str = "", *, ge: int | None = None, le: int | None = None) -> Meta:
    return Meta(description=description, ge=ge, le=le, extra={"unit": unit})


class Settings(Struct, frozen=True, kw_only=True):
    host: Annotated[str, _about("Address that the HTTP server listens on; 0.0.0.0 for every interface.")] = "127.0.0.1"
    port: Annotated[int, _about("Port of the HTTP server.", ge=0, le=65535)] = 8080
    data_dir: Annotated[str, _about("Folder of the embedded database, its seal key and its logs.", "path")] = (
        "./postback-data"
    )
    database_url: Annotated[
        Secret | None, _about("DSN of your own PostgreSQL (16 or later); absent: the embedded one is started.")
    ] = None
    api_processes: Annotated[int, _about("Processes that answer HTTP.", "processes", ge=1, le=256)] = 1
    worker_processes: Annotated[int, _about("Processes that deliver.", "processes", ge=1, le=64)] = 1
    environment: Annotated[
        Literal["live", "test"], _about("Keys of the other environment are refused; fixed at the first start.")
    ] = "live"
    seal_keys: Annotated[
        Secret | None,
        _about(
            "Keys that encrypt readable personal data: base64url of 32 bytes, comma separated, newest first. Required "
            "with database_url; absent with the embedded database: one is made in data_dir/seal.key."
        ),
    ] = None
    dangerous_allow_private_destinations: Annotated[
        bool,
        _about(
            "DANGEROUS: deliver to loopback, private and link-local addresses too. Whoever may install a destination "
            "can then reach your internal network. For the sandbox and for tests."
        ),
    ] = False
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("Least severity that is logged.")] = (
        "info"
    )
    retention_days: Annotated[
        int, _about("Age at which events, deliveries and conversions are dropped.", "days", ge=1, le=36500)
    ] = 400
    attempt_retention_days: Annotated[
        int, _about("Age at which attempts go: what was sent and answered. At most retention_days.", "days", ge=7)
    ] = 400
    sealed_retention_days: Annotated[
        int, _about("Age at which readable personal data, kept encrypted, goes from events and visitors.", "days", ge=1)
    ] = 400
    visitor_retention_days: Annotated[
        int, _about("Visitors and what links to them go when they were not seen for so long.", "days", ge=1)
    ] = 400
    report_retention_days: Annotated[
        int, _about("Age at which the sums go that reports are made of; they may outlive their events.", "days", ge=1)
    ] = 760
    connections_max: Annotated[
        int,
        _about(
            "Connections that may be open, by API process; past it a request gets 503 and its connection is closed.",
            "connections",
            ge=1,
            le=1_000_000,
        ),
    ] = 4_000
    waiting_events_max: Annotated[
        int, _about("Events that may wait to be written, by API process; past it the answer is 503.", "events", ge=1)
    ] = 20_000
    flush_events_max: Annotated[
        int,
        _about(
            "Most events that one transaction writes. What it sends should fit the socket's buffer: then the database "
            "works while this process goes on.",
            "events",
            ge=1,
            le=50_000,
        ),
    ] = 200
    database_connections_max: Annotated[
        int, _about("Connections to the database, by process.", "connections", ge=2, le=1000)
    ] = 8
    lease_seconds: Annotated[
        int, _about("A worker that is silent for so long loses its buckets to the others.", "seconds", ge=2, le=60)
    ] = 8
    claim_deliveries_max: Annotated[
        int, _about("Most deliveries that a worker takes up at once, by destination.", "deliveries", ge=1, le=10_000)
    ] = 1_000
    send_timeout_seconds: Annotated[int, _about("Longest wait for a platform's answer.", "seconds", ge=1, le=120)] = 15
    response_bytes_max: Annotated[
        int, _about("How much of a platform's answer is read and kept in the log.", "bytes", ge=1024, le=10_000_000)
    ] = 65_536
    slow_body_seconds: Annotated[
        int, _about("Time that any request has to send its body.", "seconds", ge=1, le=600)
    ] = 30
    slow_body_bytes_per_second: Annotated[
        int, _about("A body that is larger has more time: what it takes at this rate.", "bytes/s", ge=1)
    ] = 1_024
    shutdown_seconds: Annotated[
        int, _about("Time that requests and sends under way have to end after SIGTERM.", "seconds", ge=1, le=25)
    ] = 20
    trusted_proxies: Annotated[
        str,
        _about(
            "Networks of proxies in front, comma separated (`10.0.0.0/8`): of the tag's posts, and of who signs in, "
            "they alone are believed about the address (`X-Forwarded-For`), of the tag's about the scheme too "
            "(`X-Forwarded-Proto`)."
        ),
    ] = ""
    collect_address_per_minute: Annotated[
        int, _about("The browser tag's posts from one address, by API process; 0: any.", "requests/min", ge=0)
    ] = 600
    collect_site_per_minute: Annotated[
        int, _about("The browser tag's posts for one site, by API process; 0: any.", "requests/min", ge=0)
    ] = 120_000
    shared_buffers_mb: Annotated[
        int, _about("Cache of the embedded PostgreSQL; 0: a quarter of memory, at most 8192.", "MB", ge=0)
    ] = 0


_HINTS: dict[str, Any] = get_type_hints(Settings, include_extras=True)


def load(environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings of these variables, the file they or `overrides["config"]` name, and the command line's overrides.

    Overrides that are None are absent. Raises SettingsError.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    file = given.pop("config", None) or environ.get(CONFIG)
    values: dict[str, object] = {}
    said_by: dict[str, str] = {}
    for source in (_of_file(str(file)) if file else {}, _of_environment(environ), _of_command_line(given)):
        for name, (value, origin) in source.items():
            values[name], said_by[name] = value, origin
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_secret)
    except msgspec.ValidationError as wrong:
        name = str(wrong).rpartition("`$.")[2].rstrip("`")
        raise SettingsError(f"{said_by[name]} must be {_wanted(name)}.") from None
    try:
        networks(settings.trusted_proxies)
    except ValueError:
        message = f"{said_by['trusted_proxies']} must be networks such as 10.0.0.0/8, separated by commas."
        raise SettingsError(message) from None
    return settings


def networks(text: str) -> list[Network]:
    """Of `trusted_proxies`. Raises ValueError."""
    return [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]


def _secret(kind: type, value: object) -> object:
    if isinstance(value, kind):
        return value
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise TypeError("not text")


def _of_file(path: str) -> dict[str, tuple[object, str]]:
    try:
        values = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as away:
        raise SettingsError(f"The settings file {path} cannot be read: {away.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError(f"The settings file {path} is not valid TOML.") from None
    _refuse_unknown(values, Settings.__struct_fields__, f"in {path}")
    return {name: (value, f"{name} in {path}") for name, value in values.items()}


def _of_environment(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    variables = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    ours = [name for name in environ if name.startswith(PREFIX) and not name.startswith(_TESTS)]
    _refuse_unknown((name for name in ours if name not in _OTHER_VARIABLES), variables, "in the environment")
    return {variables[name]: (environ[name], name) for name in ours if name in variables and environ[name]}


def _of_command_line(given: Mapping[str, object]) -> dict[str, tuple[object, str]]:
    _refuse_unknown(given, Settings.__struct_fields__, "on the command line")
    return {name: (value, f"--{name.replace('_', '-')}") for name, value in given.items()}


def _refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SettingsError(f"There is no setting {name} ({where}): the nearest is {nearest}.")


class Described(Struct, frozen=True):
    """A setting as it holds: its variable. `value` null: it is a secret, or it is not set."""

    name: str
    variable: str
    value: str | None
    is_set: bool
    is_default: bool
    unit: str
    description: str


def described(settings: Settings) -> list[Described]:
    """Every setting, without the values of secrets."""
    found: list[Described] = []
    for field in msgspec.structs.fields(Settings):
        _, meta = get_args(_HINTS[field.name])
        value = getattr(settings, field.name)
        shown = None if value is None or isinstance(value, Secret) else _shown(value)
        about = (meta.extra or {}).get("unit", ""), meta.description
        is_default = value == field.default
        name = PREFIX + field.name.upper()
        found.append(Described(field.name, name, shown, value is not None, is_default, *about))
    return found


def docs_table() -> str:
    """Every setting as a row of a Markdown table."""
    rows = ["| variable | type | default | unit | |", "|---|---|---|---|---|"]
    for field in msgspec.structs.fields(Settings):
        kind, meta = get_args(_HINTS[field.name])
        default = "" if field.default is None else f"`{_shown(field.default)}`"
        unit = (meta.extra or {}).get("unit", "")
        rows.append(
            f"| `{PREFIX}{field.name.upper()}` | {_type_name(kind)} | {default} | {unit} | {meta.description} |"
        )
    return "\n".join(rows) + "\n"


def _wanted(name: str) -> str:
    """What a value must be, in words."""
    kind, meta = get_args(_HINTS[name])
    bounds = {"at least": meta.ge, "at most": meta.le}
    said = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
    return f"{_type_name(kind)}{', ' if said else ''}{' and '.join(said)}"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    kinds = [part for part in get_args(kind) if part is not type(None)] or [kind]
    return {str: "text", int: "an integer", bool: "`true` or `false`", Secret: "secret text"}[kinds[0]]
