"""The documentation names what there is, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from postback import errors, event
from postback.cli.app import app
from postback.connectors import catalog
from postback.settings import docs_table
from postback.web.ingest import ROUTES

ROOT = Path(__file__).parents[2]
GROUPS = ("keys", "sites", "goals", "destinations", "accounts", "privacy", "db")
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]


def test_the_table_of_settings_is_current() -> None:
    assert docs_table().strip() in (ROOT / "docs" / "settings.md").read_text()


def test_the_table_of_names_is_current() -> None:
    assert event.docs_table().strip() in (ROOT / "docs" / "names.md").read_text()


@pytest.mark.parametrize("dialect", sorted({dialect.name for dialect in ROUTES.values()} - {"native"}))
def test_every_dialect_has_its_page_with_its_paths_and_how_to_move(dialect: str) -> None:
    page = (ROOT / "docs" / f"{dialect}.md").read_text()
    assert not [path for path, one in ROUTES.items() if one.name == dialect and f"{path}`" not in page]
    _, moving = page.split("## Moving from ", 1)
    assert 4 <= len(re.findall(r"^\d+\. ", moving.partition("## ")[0], re.MULTILINE)) <= 10


@pytest.mark.parametrize("connector", sorted(catalog()))
def test_every_connector_has_its_page_and_every_field_is_named_there(connector: str) -> None:
    page = (ROOT / "docs" / f"{connector}.md").read_text()
    known = catalog()[connector]
    for variant in (known, *known.variants):
        for field in variant.config.__struct_fields__:
            assert f"`{field}`" in page, field


def test_every_error_code_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert codes
    assert not [code for code in codes if f"`{code}`" not in page]


def test_every_command_is_named() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    names = {name for name in app if not name.startswith("-")}
    groups = {name: {one for one in app[name] if not one.startswith("-")} for name in GROUPS}
    assert len(names) > 10
    assert not [name for name in names if f"`postback {name}" not in page]
    assert not [(group, one) for group, ones in groups.items() for one in ones if one not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
