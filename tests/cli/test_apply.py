"""`apply` and `export`: what a file declares becomes so, once, and what is there is written as such a file."""

import json
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from postback import installation
from postback.cli.apply import _revealed as revealed
from postback.db import Tx
from postback.declared import document, records
from postback.declared.things import Setup, steps
from postback.errors import Invalid
from postback.secret import Secret
from postback.settings import Settings

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
[[destinations.blueprint.rules]]
event = "purchase"
filter = "value >= 10.0"
value = { kind = "times", factor = 0.350 }

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
    assert on_database("sites", "list", "--json").json["items"][0]["plan"] is None
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


def test_what_is_exported_and_applied_elsewhere_is_the_same_again(
    on_database: Run, postback: Run, folder: Path, file: Path
) -> None:
    assert on_database("apply", str(file), "--yes", **META).code == 0
    exported = on_database("export")
    assert exported.code == 0, exported.err
    variables = re.findall(r"env:(\w+)", exported.out)
    assert variables == ["POSTBACK_SECRET_META_ADS_ACCESS_TOKEN", "POSTBACK_SECRET_WEBHOOK_L_DEN_SECRET"]
    secrets = {"POSTBACK_SECRET_META_ADS_ACCESS_TOKEN": "a-very-secret-token"} | {
        variables[1]: "whsec_" + "A" * 43 + "="
    }
    assert not [secret for secret in (*secrets.values(), "whsec_") if secret in exported.out]
    assert on_database("apply", "-", stdin=exported.out, **secrets).code == 2, "the webhook's secret is another one"
    here = ("--data-dir", str(folder / "data"))
    assert postback("init", *here).code == 0
    applied = postback("apply", "-", "--yes", *here, stdin=exported.out, **secrets)
    assert applied.code == 0, applied.err
    again = postback("apply", "-", "--prune", *here, stdin=exported.out, **secrets)
    assert again.out == "Nothing to do: all is as the file says.\n"
    without_numbers = re.compile("# number .*")
    there = postback("export", *here)
    assert without_numbers.sub("", there.out) == without_numbers.sub("", exported.out)
    assert json.loads(postback("export", "--json", *here).out)["plans"] == tomllib.loads(there.out)["plans"]


def test_what_the_file_does_not_name_is_removed_where_asked(on_database: Run, file: Path) -> None:
    assert on_database("apply", str(file), "--yes", **META).code == 0
    stdin = '[workspace]\n[[sites]]\nname = "Shop"\nsite_key = "shop_2"\n'
    assert "-" not in [line[0] for line in on_database("apply", "--dry-run", stdin=stdin).out.splitlines()]
    done = on_database("apply", "-", "--yes", "--prune", "--json", stdin=stdin)
    assert done.code == 0, done.err
    steps = done.json["steps"]
    removed = [(step["noun"], step["name"]) for step in steps if step["action"] == "remove"]
    assert removed == [
        ("destination", "meta Ads"), ("destination", "webhook Läden"), ("goal", "default / Purchases"),
        ("goal", "default / Leads"), ("goal", "Shop / Trials"), ("event type", "quiz_completed"),
        ("site", "default"), ("plan", "Starter"),
    ]  # fmt: skip
    assert steps[1]["fields"]["site_key"] == ["shop_1", "shop_2"]
    assert "a-very-secret-token" not in done.out
    left = tomllib.loads(on_database("export").out)
    assert left == {"workspace": {}, "sites": [{"name": "Shop", "site_key": "shop_2", "usual_goals": False}]}


def test_a_destination_is_changed_and_its_secret_is_never_shown(on_database: Run, file: Path) -> None:
    made = on_database("apply", str(file), "--yes", **META)
    whsec = re.search(r"shown this once: (whsec_\S+)", made.out)
    assert whsec
    file.write_text(FILE.replace('status = "paused"', 'status = "active"').replace('"123"', '"456"'))
    changed = on_database("apply", str(file), "--yes", META_TOKEN="another-secret")
    assert changed.code == 0, changed.err
    assert changed.out.splitlines() == [
        "~ destination meta Ads",
        '    status: "paused" -> "active"',
        '    config.dataset_id: "123" -> "456"',
        '    config.access_token: "[secret]" -> "[secret]"',
        "Done: 1 change.",
    ]
    assert on_database("apply", str(file), META_TOKEN="another-secret").code == 0
    assert whsec[1] not in changed.out


BAD = {
    "[[goals]]\nname = 'a'\n[[goals]]\nname = 'b'\nfilter = 'value >'": "goals[1].filter: ",
    "[[goals]]\nname = 'a'\ndefault_value = -1": "goals[0].default_value: ",
    "[[goals]]\nname = 'a'\nsite = 'Nowhere'": "goals[0].site: ",
    "[[sites]]\nname = 'a'\ntimezone = 'Mars'": "sites[0].timezone: ",
    "[[sites]]\nname = 'a'\nplan = 'Gold'": "sites[0].plan: ",
    "[[event_types]]\nname = 'purchase'": "event_types[0].name: ",
    "[[destinations]]\nconnector = 'acme'": "destinations[0].connector: ",
    "[[destinations]]\nconnector = 'meta'\nvariant = 'x'": "destinations[0].variant: ",
    "[[destinations]]\nconnector = 'meta'\nconfig = {dataset_id = '1'}": "destinations[0].config.access_token: ",
    "[[destinations]]\nconnector = 'meta'\nconfig = {dataset_id = '1', access_token = 'in-clear'}": (
        "destinations[0].config.access_token: A secret stands elsewhere"
    ),
    "[[destinations]]\nconnector = 'meta'\nconfig = {dataset_id = '1', access_token = 'env:NOT_SET'}": (
        "destinations[0].config.access_token: The variable NOT_SET"
    ),
    "[[destinations]]\nconnector = 'meta'\nconfig = {dataset_id = '1', access_token = 'file:/nowhere'}": (
        "destinations[0].config.access_token: The file /nowhere"
    ),
    "[[destinations]]\nconnector = 'webhook'\nconfig = {url = 'http://127.0.0.1/'}": "destinations[0].config.url: ",
    "[[destinations]]\nconnector = 'webhook'\nconfig = {url = 'https://a.example'}\n"
    "blueprint = {rules = [{event = '*', filter = 'nothing('}]}": "destinations[0].blueprint.rules[0].filter: ",
}


async def test_a_mistake_is_told_with_its_place_and_nothing_is_found(tx: Tx, tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    async with tx.transaction():
        made = await installation.init(tx, settings, datetime.now(UTC))
    assert made is not None
    state = await records.read(tx, (await installation.open_vault(tx, settings)).sealer, UUID(made.workspace))
    setup = Setup(settings, lambda reference: revealed(reference, tmp_path / "postback.toml"))
    for content, place in BAD.items():
        with pytest.raises(Invalid) as refused:
            steps(document.read(content.encode()), state, setup, prune=False)
        assert refused.value.message.startswith(place), refused.value.message
        assert refused.value.field == place.partition(": ")[0]
        assert "in-clear" not in refused.value.message


def test_a_file_that_cannot_be_applied_whole_is_not_applied_at_all(on_database: Run) -> None:
    bad = on_database("apply", "-", "--yes", stdin="[[sites]]\nname = 'a'\n[[goals]]\nname = 'a'\nfilter = '('")
    assert (bad.code, bad.out) == (2, "")
    assert bad.err.startswith("postback: goals[0].filter: ")
    both = "[[sites]]\nname = 'a'\nsite_key = 'same'\n[[sites]]\nname = 'b'\nsite_key = 'same'"
    taken = on_database("apply", "-", "--yes", stdin=both)
    assert taken.code == 1
    assert "sites[1].site_key: This site_key is taken" in taken.err
    unasked = on_database("apply", "-", stdin=both)
    assert unasked.code == 2
    assert "--yes" in unasked.err
    assert len(on_database("sites", "list", "--json").json["items"]) == 1


def test_the_file_of_the_documentation_can_be_applied(on_database: Run, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "apply.md").read_text(), re.DOTALL)
    (tmp_path / "postback.toml").write_text(example)
    (tmp_path / "crm-authorization.txt").write_text("Bearer of-the-crm\n")
    for said in ("Done: ", "Nothing to do"):
        ran = on_database("apply", str(tmp_path / "postback.toml"), "--yes", META_ADS_TOKEN="a-token")
        assert ran.code == 0, ran.err
        assert said in ran.out
        assert "of-the-crm" not in ran.out
