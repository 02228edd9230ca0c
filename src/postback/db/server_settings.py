"""What a PostgreSQL of Postback is set to: `RECOMMENDED` for any server, the rest for the bundled one."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PORT = 5432  # names the socket; nothing listens on TCP
LARGEST_SHARED_BUFFERS_MB = 8192
LEAST_CONNECTIONS = 100

RECOMMENDED = {
    # Durability is never traded.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_wal_size": "4GB",
    "min_wal_size": "1GB",  # files of the log that are kept for use: making one stops every commit
    "checkpoint_timeout": "15min",
    "jit": "off",
    "deadlock_timeout": "200ms",
    "autovacuum": "on",
}

# Personal data must not reach the log. Errors of statements quote values, so they go to the client alone (`log` ranks
# above `error`), and neither statements nor details are written.
PRIVATE_LOG = {
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


def for_embedded(bin_dir: Path, socket_dir: Path) -> dict[str, str]:
    """All settings of the bundled server of `bin_dir`, listening in `socket_dir` and nowhere else."""
    settings = RECOMMENDED | PRIVATE_LOG
    settings |= {
        "cluster_name": "postback",
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": '"' + str(socket_dir).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
        "max_connections": str(LEAST_CONNECTIONS),
        "shared_buffers": f"{recommended_shared_buffers_mb()}MB",
        "autovacuum_naptime": "1min",
        "max_logical_replication_workers": "0",
        "wal_init_zero": "off",  # a new one is not filled beforehand: 30 ms each, two a second under load
        "log_checkpoints": "off",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] ",
        "log_timezone": "UTC",
        "timezone": "UTC",
        "datestyle": "iso, ymd",
        "lc_messages": "C",
        "default_text_search_config": "pg_catalog.simple",
    }
    if "#define USE_LZ4" in (bin_dir.parent / "include" / "pg_config.h").read_text():
        settings["wal_compression"] = "lz4"
    return settings


def recommended_shared_buffers_mb() -> int:
    """A quarter of memory, at most 8 GB: what does not fit is read anew, at several times the cost of a look-up."""
    return min(_memory_bytes() // 4 // 2**20, LARGEST_SHARED_BUFFERS_MB)


def _memory_bytes() -> int:
    """The machine's memory, or what its container may use of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # "max", or no cgroup v2
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return memory


def config_text(settings: Mapping[str, str]) -> str:
    """The settings as a `postgresql.conf`."""
    lines = ["# Written by Postback at each start. ALTER SYSTEM is the place for your own settings."]
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"
