"""The load generator, a process of its own: wrk with `load.lua` where installed, else autocannon from npm.

Closed loop: each connection sends its next request when the last one was answered. oha is passed over even where it is
installed: it cannot make the body of each request its own, and equal events would be duplicates.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from bench import autocannon, event
from bench.process import FOLDER, BenchError, output_of

SCRIPT = Path(__file__).with_suffix(".lua")
BATCH = 100


@dataclass(frozen=True)
class Target:
    """Where the load goes. `api_key` is sent as a bearer token. `template`: each event; `opening`: what stands before
    the events of a batch, in an object."""

    port: int
    path: str
    api_key: str
    template: str = event.TEMPLATE
    opening: str = "{"


@dataclass(frozen=True)
class Figures:
    """What one run, or the medians of several, came to. `per_second` counts events that were answered with 2xx."""

    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    events: int
    refused: int


@cache
def generator() -> str:
    """The load generator's name and version."""
    if wrk := shutil.which("wrk"):
        said = subprocess.run([wrk, "-v"], capture_output=True, text=True, check=False).stdout  # it exits with 1
        return " ".join(said.split("Copyright")[0].split()).rstrip(",")
    return autocannon.name()


async def run(target: Target, *, connections: int, seconds: int, batch: int = 0) -> Figures:
    """Load for some seconds; `batch` events a request, 0: one, not in a list. Raises BenchError."""
    template = FOLDER / "event.json"
    template.write_text(target.template)
    url = f"http://127.0.0.1:{target.port}{target.path}"
    run_id = event.new_run()
    arguments = [run_id, str(batch), str(template), target.api_key, target.opening]
    if wrk := shutil.which("wrk"):
        # One thread makes and sends more than one core can take, and leaves the other core alone.
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
        argv = [wrk, *options, url, "--", *arguments]
    else:
        argv = [*autocannon.command(url, connections, seconds), *arguments]
    said = await output_of("load generator", argv, seconds=seconds + 60)
    return _figures(said, max(batch, 1))


def _figures(said: str, events_a_request: int) -> Figures:
    line = next((line for line in said.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchError(f"The load generator gave no result:\n{said}")
    answered, micros, refused, broken, p50, p99, p999 = map(float, line.split()[1:])
    taken = int(answered - refused) * events_a_request
    if not taken:
        raise BenchError(f"No request was answered with 2xx ({refused:.0f} refused, {broken:.0f} broken).")
    rate = taken / (micros / 1e6)
    return Figures(rate, p50 / 1000, p99 / 1000, p999 / 1000, taken, int(refused + broken))


def medians(runs: Sequence[Figures]) -> Figures:
    """Each figure's median; events and refusals are summed."""
    return Figures(
        median(run.per_second for run in runs),
        median(run.p50_ms for run in runs),
        median(run.p99_ms for run in runs),
        median(run.p999_ms for run in runs),
        sum(run.events for run in runs),
        sum(run.refused for run in runs),
    )


def body_bytes() -> int:
    """The size of one event as it is sent."""
    return len(event.TEMPLATE.replace("@id@", "i" * 24).replace("@phone@", "5550123"))
