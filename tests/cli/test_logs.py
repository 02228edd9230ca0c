"""Logs: JSON by the line, without what exceptions and other libraries may quote."""

import json
import subprocess
import sys
from typing import Any

CODE = """
import logging, structlog
from postback.cli import logs
from postback.errors import Unavailable

logs.configure("info")
logs.configure_structlog("info")
log = structlog.get_logger()
log.debug("hidden")
log.info("api serving", pid=7)
try:
    try:
        {}["jane@example.com"]
    except KeyError as error:
        raise Unavailable("The disk is full; make room.") from error
except Unavailable:
    log.exception("flush failed", n=2)
logging.getLogger("postback.db").warning("embedded.orphan", extra={"pids": [1, 2]})
logging.getLogger("asyncio").error("Task exception was never retrieved\\nfuture: jane@example.com")
logging.getLogger("uvicorn.error").warning("Bad request from %s", "jane@example.com")
logging.getLogger("uvicorn.error").info("Started server process")
import warnings
warnings.warn("jane@example.com")
"""


def lines() -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "jane" not in done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_each_line_is_an_object_and_holds_nothing_of_what_was_sent() -> None:
    first, failure, orphan, task, request, *_ = lines()
    assert first.items() >= {"level": "info", "event": "api serving", "pid": 7}.items()
    assert failure["n"] == 2
    assert failure["error"]["type"] == "Unavailable"
    assert failure["error"]["message"] == "The disk is full; make room."
    assert failure["error"]["from"]["type"] == "KeyError"
    assert "message" not in failure["error"]["from"]
    assert orphan.items() >= {"event": "embedded.orphan", "level": "warning", "pids": [1, 2]}.items()
    assert task["event"] == "Task exception was never retrieved"
    assert request["event"] == "Bad request from %s"
