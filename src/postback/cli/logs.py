"""Logs: one JSON object a line, on stderr: `at`, `level`, `event`, fields.

No personal data, no key, no URL query. Our own rooms log names with fields. Of an exception the type and the places are
written, its text only where it is ours, the system's or about the program itself: all else may quote what was sent.
Of other libraries' messages, from warning up, the first line is written as it stands in their source, without its
arguments.
"""

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import msgspec

from postback.errors import PostbackError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_OURS = ("postback", "__main__")
_ABOUT_PROGRAMS = (AttributeError, ImportError, NameError, TypeError)  # their texts name code and types, no values
_USUAL = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "taskName"}


def configure(level: str) -> None:
    """Send the standard library's logs to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    handler.addFilter(lambda record: _is_ours(record) or record.levelno >= logging.WARNING)
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    logging.captureWarnings(True)


def configure_structlog(level: str) -> None:
    """The same for structlog, which the API, the worker and the flows use."""
    # structlog imports rich for its console, which nobody sees here: 7 MB less in each process.
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog

    if hidden:
        del sys.modules["rich"]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, _render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if _is_ours(record):
            event = record.getMessage()
            fields: dict[str, Any] = {name: value for name, value in record.__dict__.items() if name not in _USUAL}
        else:
            event = str(record.msg).partition("\n")[0]
            if record.name == "py.warnings":  # path: line: category: what was warned of
                event = ":".join(event.split(":")[:3])
            fields = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        return _line(record.levelname.lower(), event, fields).decode()


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.split(".", 1)[0] in _OURS


def _render(_: Any, __: str, event: Any) -> bytes:
    fields = dict(event)
    return _line(fields.pop("level"), str(fields.pop("event")), fields)


def _line(level: str, event: str, fields: dict[str, Any]) -> bytes:
    line: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
    line["pid"] = os.getpid()
    error = fields.pop("exc_info", None)
    line |= fields
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        line["error"] = told(error)
    return msgspec.json.encode(line, enc_hook=str)


def told(error: BaseException) -> dict[str, Any]:
    """An exception without what it may quote."""
    frames = traceback.extract_tb(error.__traceback__)
    found: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, PostbackError):
        found["message"] = error.message
    elif isinstance(error, _ABOUT_PROGRAMS):
        found["message"] = str(error)
    elif isinstance(error, OSError):
        found["message"] = error.strerror
    elif state := getattr(error, "sqlstate", None):
        found["sqlstate"] = state
    found["at"] = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-20:]]
    if cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        found["from"] = told(cause)
    return found


def _short(path: str) -> str:
    return path.rpartition("site-packages" + os.sep)[2].rpartition(f"src{os.sep}")[2]
