#!/bin/sh
# A Chromium for the browser tests: one on PATH, else Debian's where we are root, else Playwright's own. Its headless
# shell too, where Debian has it: most tests are quicker with it. $1: where Python's commands are. Exits 2 with the one
# command that is missing.
starts() {
    "$1/python" - <<'PYTHON' 2>/dev/null
import shutil
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    playwright.chromium.launch(executable_path=found).close()
PYTHON
}
starts "$1" && exit 0
echo "== installing Chromium"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    (apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium) >/dev/null 2>&1
    apt-get install -qq -y --no-install-recommends chromium-headless-shell >/dev/null 2>&1
    starts "$1" && exit 0
fi
"$1/playwright" install chromium >/dev/null 2>&1
starts "$1" && exit 0
echo "The browser tests need a Chromium, and none could be installed; run: sudo apt-get install chromium" >&2
exit 2
