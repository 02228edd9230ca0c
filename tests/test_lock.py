"""The lock files: every dependency pinned with its hashes, and no index address."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
NEEDS = {
    "requirements-install.lock": GROUPS["install"],
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-dev.lock": PROJECT["project"]["dependencies"] + GROUPS["dev"] + GROUPS["bench"],
}


def pinned(file: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize("file", NEEDS)
def test_every_dependency_of_the_project_is_pinned(file: str) -> None:
    names = {re.split(r"[\[<>=!~ ;]", need)[0].lower().replace("_", "-") for need in NEEDS[file]}
    assert not names - pinned(file).keys(), "run `make lock`"


@pytest.mark.parametrize("file", NEEDS)
def test_every_pin_has_hashes_and_no_index_is_named(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    pins = re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]
    assert len(pins) > (50 if len(NEEDS[file]) > 1 else 0)
    assert all("--hash=sha256:" in pin for pin in pins)


def test_both_lock_files_agree() -> None:
    runtime, dev = pinned("requirements.lock"), pinned("requirements-dev.lock")
    assert {name: dev.get(name) for name in runtime} == runtime
