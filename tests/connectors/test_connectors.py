"""Every connector that the catalog finds is held to the rules of connectors."""

import ast
import inspect
import sys

import msgspec

from postback import connectors
from postback.connectors import Connector
from postback.event import IDENTIFIERS, Consent
from tests.connectors.fixture import each_connector


@each_connector
def test_a_connector_says_what_the_hub_needs_to_know(connector: Connector) -> None:
    module = sys.modules[f"{connectors.__name__}.{connector.name}"]
    assert connector.config.__module__.startswith(module.__name__)
    assert module.__doc__
    for fact in ("Dedup:", "Time", "Money:", "Source: http", ", read 20"):
        assert fact in module.__doc__, fact
    assert connector.identifiers <= IDENTIFIERS
    assert connector.consent <= set(Consent.__struct_fields__)
    assert set(connector.click_id_ages) <= connector.identifiers
    assert connector.max_items >= 1
    assert connector.docs.startswith("https://")


@each_connector
def test_every_field_of_a_config_has_a_title_and_a_sentence(connector: Connector) -> None:
    assert connector.config.__struct_config__.frozen
    fields = msgspec.inspect.type_info(connector.config)
    assert isinstance(fields, msgspec.inspect.StructType)
    for field in fields.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata), field.name
        shown = field.type.extra_json_schema or {}
        assert shown.get("title"), field.name
        assert str(shown.get("description")).endswith((".", "...")), field.name


@each_connector
def test_a_connector_reads_no_clock_and_no_randomness(connector: Connector) -> None:
    own = f"{connectors.__name__}.{connector.name}"
    modules = [module for name, module in sys.modules.items() if name == own or name.startswith(f"{own}.")]
    source = "\n".join(inspect.getsource(module) for module in modules)
    used = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    assert used.isdisjoint({"now", "utcnow", "today", "time", "monotonic", "perf_counter", "urandom", "uuid4"})
