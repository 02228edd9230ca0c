"""Wrong usage: exit code 2, one sentence on stderr, nothing on stdout, no traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["srve"], 'Did you mean "serve"'),
        (["serve", "--prt", "1"], "Did you mean --port"),
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "folder"], "Unused Tokens"),
        (["apply", "/dev/null", "--prun"], "Did you mean --prune"),
        (["keys", "create"], "requires an argument"),
        (["keys", "revoke", "not-an-id"], "UUID"),
        (["api", "--port", "0"], "--database-url"),
        (["worker"], "--database-url"),
        (["api", "--fd", "99"], "no socket at 99"),
        (["send", "/dev/null"], "POSTBACK_KEY"),
        (["db", "restore", "/nowhere"], "no file /nowhere"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(postback: Run, arguments: list[str], said: str) -> None:
    ran = postback(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.startswith("postback: ")
    assert ran.err.count("\n") == 1


def test_what_to_run_is_told_as_this_program_is_found(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("postback")

    def told(*called: str, path: str) -> str:
        given = [*called, "keys", "list", "--data-dir", str(tmp_path / "none")]
        environment = {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(given, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        return done.stderr

    (tmp_path / "bin").symlink_to(script.parent)
    elsewhere, here = "/usr/bin:/bin", f"{script.parent}:/usr/bin:/bin"
    assert "run `bin/postback init`" in told("bin/postback", path=elsewhere)
    assert "run `postback init`" in told("bin/postback", path=here)
    assert f"run `{script} init`" in told(sys.executable, "-m", "postback", path=elsewhere)


def test_an_unknown_variable_is_told_with_the_nearest_one(postback: Run) -> None:
    ran = postback("keys", "list", POSTBACK_PROT="1")
    assert ran.code == 2
    assert "POSTBACK_PORT" in ran.err


@pytest.mark.parametrize("command", [["keys", "list"], ["ledger"], ["tail"], ["db", "backup", "/tmp/x"]])
def test_a_folder_without_postback_is_told(postback: Run, folder: Path, command: list[str]) -> None:
    ran = postback(*command, "--data-dir", str(folder))
    assert (ran.code, ran.out) == (1, "")
    assert "run `postback init`" in ran.err
    assert not list(folder.iterdir()), "asking makes nothing"


def test_there_is_nothing_to_watch_where_nothing_runs(postback: Run, folder: Path) -> None:
    assert postback("init", "--data-dir", str(folder / "data")).code == 0
    ran = postback("tail", "--data-dir", str(folder / "data"))
    assert ran.code == 1
    assert "start it" in ran.err


def test_a_database_that_is_away_is_told(postback: Run) -> None:
    ran = postback("keys", "list", POSTBACK_DATABASE_URL="postgresql://nobody:hidden@127.0.0.1:1/x")
    assert ran.code == 1
    assert "cannot be reached" in ran.err
    assert "hidden" not in ran.err


def test_help_lists_every_command(postback: Run) -> None:
    told = postback("--help")
    assert told.code == 0
    for command in (
        "serve init api worker demo sandbox keys destinations send tail replay backfill apply export ledger doctor db"
    ).split():
        assert f" {command} " in told.out
    assert postback("--version").out == "0.1.0\n"


def test_the_roles_that_serve_starts_import_nothing_that_serves_people_alone() -> None:
    code = """
import sys
from postback.cli import roles, environment, logs
logs.configure_structlog("info")
import postback.web.server, postback.worker
print([name for name in ("cyclopts", "rich", "alembic", "sqlalchemy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
