"""`apply` and `export`: what a file declares becomes so, once, and what is there is written as such a file."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postback.secret import Secret

Run = Callable[..., Any]
ROOT = Path(__file__).parents[2]
META = {"META_TOKEN": "a-very-secret-token"}
FILE = """
[workspace]
plan = "Starter"

[[plans]]
name = "Starter"
monthly_cap = 10000
overage = true

[[sites]]
name = "Shop"
site_key = "shop_1"
currency = "eur"
country = "de"
plan = "Starter"
allowed_origins = ["https://shop.example"]

[[event_types]]
name = "quiz_completed"
required = ["user_data.email"]

[[goals]]
name = "Trials"
site = "Shop"
events = ["Form Submitted"]
default_value = 12.50
filter = "value > 10"

[[goals]]
name = "Leads"
site = "default"
events = ["lead"]

[[destinations]]
connector = "meta"
name = "Ads"
status = "paused"
[destinations.config]
dataset_id = "123"
access_token = "env:META_TOKEN"

[[destinations]]
connector = "webhook"
name = "Läden"
[destinations.config]
url = "https://example.com/hook"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "postback.toml"
    made.write_text(FILE)
    return made


def test_what_a_file_declares_becomes_so_once(on_database: Run, database: Secret, file: Path) -> None:
    tried = on_database("apply", str(file), "--dry-run", **META)
    assert tried.code == 0, tried.err
    assert "+ destination meta Ads" in tried.out
    assert '~ goal default / Leads\n    events: ["lead","signup"] -> ["lead"]' in tried.out
    assert on_database("plans" if False else "sites", "list", "--json").json["items"][0]["plan"] is None
    done = on_database("apply", str(file), "--yes", **META)
    assert done.code == 0, done.err
    assert done.out.startswith(tried.out), "what is shown is what is done"
    again = on_database("apply", str(file), **META)
    assert (again.code, again.out) == (0, "Nothing to do: all is as the file says.\n")
    site = on_database("sites", "list", "--json").json["items"][1]
    assert (site["site_key"], site["currency"], site["country"]) == ("shop_1", "EUR", "DE")
    goals = {goal["name"]: goal for goal in on_database("goals", "list", "--json").json["items"]}
    assert goals["Trials"]["events"] == ["lead"]
    assert [one["status"] for one in on_database("destinations", "list", "--json").json["items"]] == [
        "paused",
        "active",
    ]
    with psycopg.connect(database.reveal()) as conn:
        rows = conn.execute("SELECT noun, action, actor, concat(before, after) FROM audit ORDER BY id").fetchall()
    assert [(noun, action) for noun, action, _, _ in rows] == [
        ("plan", "created"), ("workspace", "changed"), ("site", "created"), ("event type", "created"),
        ("goal", "created"), ("goal", "changed"), ("destination", "created"), ("destination", "created"),
    ]  # fmt: skip
    assert {actor for _, _, actor, _ in rows} == {"command line"}
    assert "a-very-secret-token" not in str(rows) + tried.out + done.out + done.err
