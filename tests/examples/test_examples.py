"""The examples run as they stand, and what they send is stored."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = {".py": sys.executable, ".sh": "sh", ".mjs": "node"}
SENT = {"purchase.py": "order-1001", "purchase.sh": "order-1002", "purchase.mjs": "order-1003", "on_disk.py": "lead-7"}
SAID = {
    "purchase.py": r"accepted order-1001\n",
    "purchase.sh": r'"status":"accepted"',
    "purchase.mjs": r'"status":"accepted"',
    "on_disk.py": r"queued\n1 sent, 0 left, 0 refused\n",
}


@pytest.mark.parametrize("name", sorted(SENT))
async def test_an_example_runs_as_it_stands(served: Any, tmp_path: Path, name: str) -> None:
    file = EXAMPLES / name
    program = shutil.which(RUN[file.suffix])
    assert program, f"{RUN[file.suffix]} is needed to run {name}"
    surroundings = os.environ | {
        "POSTBACK_URL": served.url,
        "POSTBACK_KEY": served.keys.api_key,
        "TMPDIR": str(tmp_path),
    }
    run = await asyncio.create_subprocess_exec(
        program, file, env=surroundings, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await run.communicate()
    assert (run.returncode, complained) == (0, b"")
    assert re.search(SAID[name], said.decode()), said
    _, listed = await served.call("GET", "/v1/admin/events")
    assert [event["event_id"] for event in listed["items"]] == [SENT[name]]


def test_every_example_is_run_and_named() -> None:
    files = {file.name for file in EXAMPLES.iterdir() if file.suffix in RUN}
    assert files == set(SENT)
    page = (EXAMPLES / "README.md").read_text()
    assert not [name for name in files if f"({name})" not in page]
