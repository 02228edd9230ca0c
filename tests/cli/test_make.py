"""`make demo`: ends with make, by Ctrl-C or by SIGTERM. (SIGINT to make alone: it waits for the demo, as any make does.)"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# Stands for the demo: says that it runs, and what ended it.
DEMO = f"""#!{sys.executable}
import signal, sys
def end(number, _):
    print("ended by", signal.Signals(number).name, flush=True)
    sys.exit(0)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, end)
print("runs", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "postback").write_text(DEMO)
    (tmp_path / "bin" / "postback").chmod(0o755)
    (tmp_path / ".runtime").touch()
    running = subprocess.Popen(
        ["make", "--no-print-directory", "demo", f"VENV={tmp_path}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "runs\n"
    yield running
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize(
    ("send", "number"), [(os.killpg, signal.SIGINT), (os.killpg, signal.SIGTERM), (os.kill, signal.SIGTERM)]
)
def test_the_demo_ends_with_make(make: Any, send: Callable[[int, int], None], number: signal.Signals) -> None:
    send(make.pid, number)
    said, _ = make.communicate(timeout=20)
    assert f"ended by {signal.SIGTERM.name if send is os.kill else number.name}" in said
