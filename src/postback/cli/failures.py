"""From an exception to what people read on stderr, and the exit code. Nobody is shown a traceback unasked."""

import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from postback.errors import Invalid, PostbackError
from postback.settings import SettingsError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class WrongUsage(PostbackError):
    """Arguments or settings that no second try heals; the program ends with 2."""


@contextmanager
def telling() -> Generator[None]:
    """End the program with a sentence and the right code where the block fails."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except Exception as error:
        end(error)


def end(error: Exception) -> NoReturn:
    from postback.cli import show

    sentence, code = explained(error)
    if os.environ.get("POSTBACK_LOG_LEVEL") == "debug":
        traceback.print_exception(error)
    sys.stderr.write(f"postback: {show.as_called(sentence)}\n")
    sys.stderr.flush()
    sys.exit(code)


def explained(error: Exception) -> tuple[str, int]:
    """What went wrong and what to do, and the exit code."""
    if isinstance(error, SettingsError):
        return str(error), WRONG_USAGE
    if isinstance(error, PostbackError):
        from postback.installation import WrongSetup
        from postback.pii.seal import SealError

        is_usage = isinstance(error, WrongUsage | Invalid | WrongSetup | SealError)
        return error.message, WRONG_USAGE if is_usage else FAILED
    if type(error).__module__.startswith("cyclopts"):
        return f"{' '.join(str(error).split())} See --help.", WRONG_USAGE
    if type(error).__module__.startswith("psycopg"):
        return _of_database(error), FAILED
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or type(error).__name__}; check the path and its permissions.", FAILED
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"This is a bug of ours: {type(error).__name__} at {where}. "
        "POSTBACK_LOG_LEVEL=debug shows the trace; please report it.",
        FAILED,
    )


def _of_database(error: Exception) -> str:
    import psycopg

    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return "The database's tables are not there or are of another version; run `postback init`."
    said = str(error).strip().splitlines()
    first = said[0] if said else type(error).__name__
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return f"The database cannot be reached ({first}); check --database-url, and that it runs."
    return f"The database refused: {first}."
