from pathlib import Path

import msgspec
import pytest

from postback.secret import Secret
from postback.settings import Settings, SettingsError, docs_table, load


def refusal(environ: dict[str, str], **overrides: object) -> str:
    with pytest.raises(SettingsError) as refused:
        load(environ, overrides)
    return str(refused.value)


def test_nothing_given_means_the_defaults() -> None:
    assert load({}) == Settings()
    assert load({"HOME": "/root", "POSTBACK_PORT": ""}, {"port": None}) == Settings()


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    file = tmp_path / "postback.toml"
    file.write_text('host = "file"\nport = 1\nretention_days = 30\n')
    environ = {"POSTBACK_CONFIG": str(file), "POSTBACK_HOST": "environment", "POSTBACK_PORT": "2"}
    settings = load(environ, {"host": "command line"})
    assert (settings.host, settings.port, settings.retention_days, settings.log_level) == (
        "command line",
        2,
        30,
        "info",
    )


def test_the_file_may_be_named_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "postback.toml"
    file.write_text("port = 1\n")
    assert load({"POSTBACK_CONFIG": "/nowhere"}, {"config": file}).port == 1


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_a_choice_is_read_from_its_text(text: str, value: bool) -> None:
    environ = {"POSTBACK_DANGEROUS_ALLOW_PRIVATE_DESTINATIONS": text}
    assert load(environ).dangerous_allow_private_destinations is value


@pytest.mark.parametrize(
    ("environ", "overrides", "said"),
    [
        (
            {"POSTBACK_PRT": "1"},
            {},
            "There is no setting POSTBACK_PRT (in the environment): the nearest is POSTBACK_PORT.",
        ),
        ({"POSTBACK_SEALKEYS": "x"}, {}, "nearest is POSTBACK_SEAL_KEYS"),
        ({}, {"data_dri": "x"}, "the nearest is data_dir"),
        ({"POSTBACK_PORT": "eighty"}, {}, "POSTBACK_PORT must be an integer, at least 0 and at most 65535."),
        ({"POSTBACK_PORT": "70000"}, {}, "POSTBACK_PORT must be an integer, at least 0 and at most 65535."),
        ({}, {"api_processes": 0}, "--api-processes must be an integer, at least 1"),
        ({"POSTBACK_ENVIRONMENT": "prod"}, {}, "POSTBACK_ENVIRONMENT must be `live` or `test`."),
        ({"POSTBACK_LOG_LEVEL": "chatty"}, {}, "`debug` or `info`"),
        ({"POSTBACK_CONFIG": "/nowhere/postback.toml"}, {}, "/nowhere/postback.toml cannot be read: No such file"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_it_must_be(
    environ: dict[str, str], overrides: dict[str, object], said: str
) -> None:
    assert said in refusal(environ, **overrides)


def test_a_wrong_file_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "postback.toml"
    for text, said in [
        ("prot = 1", f"There is no setting prot (in {file}): the nearest is port."),
        ('port = "x"', f"port in {file} must be an integer"),
        ("[server]\nport = 1", "There is no setting server"),
        ("port 1", "is not valid TOML"),
        ("seal_keys = 7", f"seal_keys in {file} must be secret text."),
    ]:
        file.write_text(text)
        assert said in refusal({"POSTBACK_CONFIG": str(file)})


def test_variables_that_others_read_are_no_mistake() -> None:
    load({"POSTBACK_CONTRACT_DOCUMENTS": "/work", "POSTBACK_TEST_SERVER": "x"})


def test_a_secret_is_never_shown() -> None:
    dsn = "postgresql://user:hunter2@host/db"
    for settings in (load({"POSTBACK_DATABASE_URL": dsn}), load({}, {"database_url": Secret(dsn)})):
        assert settings.database_url is not None
        assert settings.database_url.reveal() == dsn
        assert "hunter2" not in repr(settings)


def test_every_setting_is_in_the_table_with_its_sentence() -> None:
    table = docs_table().splitlines()
    assert len(table) == len(Settings.__struct_fields__) + 2
    for field, row in zip(msgspec.structs.fields(Settings), table[2:], strict=True):
        variable, kind, _, _, sentence = [cell.strip() for cell in row.strip("|").split("|")]
        assert variable == f"`POSTBACK_{field.name.upper()}`"
        assert kind
        assert sentence.endswith(".")
        assert sentence[0].isupper()


def test_what_is_dangerous_says_so_in_its_name() -> None:
    for field, row in zip(msgspec.structs.fields(Settings), docs_table().splitlines()[2:], strict=True):
        assert field.name.startswith("dangerous_") == ("DANGEROUS" in row)
