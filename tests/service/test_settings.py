"""The sources of settings, which of them wins, and what is refused with which message."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.service.setting_sources import load
from metadata_inventory.service.settings import DECLARATIONS, Settings
from tests.support.running import ROOT

DOCUMENTED = (ROOT / "conf" / "default.toml").read_text("utf-8")
NAMES = list(Settings.__struct_fields__)
UNITS = ("_s", "_bytes")


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def refusal(config_file: str | None = None, environ: dict[str, str] | None = None, **flags: object) -> str:
    with pytest.raises(InvalidSettings) as caught:
        load(config_file, environ or {}, flags)
    return caught.value.detail


def test_without_sources_the_defaults_hold() -> None:
    assert load(None, {}, {}) == Settings()


def test_default_file_names_every_setting_once_with_its_default(config_file: Path) -> None:
    uncommented = re.sub(r"^# ([a-z0-9_]+ = )", r"\1", DOCUMENTED, flags=re.MULTILINE)
    assert sorted(tomllib.loads(uncommented)) == sorted(NAMES)
    config_file.write_text(uncommented)
    assert load(str(config_file), {}, {}) == Settings()


def test_default_file_sets_nothing() -> None:
    assert tomllib.loads(DOCUMENTED) == {}


@pytest.mark.parametrize("name", NAMES)
def test_default_file_gives_each_setting_its_line_of_meaning(name: str) -> None:
    assert DECLARATIONS[name].description.endswith(".")
    (paragraph,) = [part for part in DOCUMENTED.split("\n\n") if f"\n# {name} = " in part]
    assert f"# {DECLARATIONS[name].description}\n" in paragraph


@pytest.mark.parametrize("name", NAMES)
def test_fractional_settings_name_their_unit(name: str) -> None:
    if isinstance(getattr(Settings(), name), float):
        assert name.endswith(UNITS)


def test_file_yields_to_environment_and_that_to_flags(config_file: Path) -> None:
    config_file.write_text('host = "192.0.2.1"\nport = 1\nlanes = 3\n')
    settings = load(str(config_file), {"INVENTORY_PORT": "2", "INVENTORY_LANES": "4"}, {"lanes": "5"})
    assert (settings.host, settings.port, settings.lanes) == ("192.0.2.1", 2, 5)


def test_file_can_be_named_in_the_environment(config_file: Path) -> None:
    config_file.write_text("port = 81")
    assert load(None, {"INVENTORY_CONFIG": str(config_file)}, {}).port == 81


def test_flags_that_were_not_given_change_nothing() -> None:
    assert load(None, {"INVENTORY_PORT": "81"}, {"port": None}).port == 81


def test_switch_is_a_flag_without_value_and_a_word_in_the_environment() -> None:
    assert load(None, {}, {"allow_loopback": True}).allow_loopback
    assert load(None, {"INVENTORY_ALLOW_LOOPBACK": "true"}, {}).allow_loopback
    assert not load(None, {"INVENTORY_ALLOW_LOOPBACK": "false"}, {"allow_loopback": None}).allow_loopback


def test_every_setting_can_stand_in_the_environment() -> None:
    texts = {
        DECLARATIONS[name].variable: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in msgspec.structs.asdict(Settings()).items()
        if value is not None
    }
    assert load(None, texts, {}) == Settings()


def test_empty_variables_count_as_not_set() -> None:
    assert load(None, {"MONGO_URI": "", "INVENTORY_PORT": "", "INVENTORY_CA_FILE": ""}, {}) == Settings()


def test_variables_of_other_programs_are_passed_over() -> None:
    assert load(None, {"PORT": "1", "MONGO_URI_OLD": "x", "PATH": "/bin"}, {}) == Settings()


def test_destinations_are_a_list_in_the_file_and_comma_separated_elsewhere(config_file: Path) -> None:
    config_file.write_text('allow_destinations = ["127.0.0.1:8000", "::1/128"]')
    expected = ("127.0.0.1:8000", "::1/128")
    assert load(str(config_file), {}, {}).allow_destinations == expected
    assert load(None, {"INVENTORY_ALLOW_DESTINATIONS": "127.0.0.1:8000, ::1/128,"}, {}).allow_destinations == (expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", 'there is no setting "prot". Did you mean port?'),
        ("nothing_like_it = 1", 'there is no setting "nothing_like_it".'),
        ("port = 70000", "port must be a whole number from 0 to 65535, not 70000."),
        ("port = true", "port must be a whole number from 0 to 65535, not true."),
        ("[port]\nx = 1", "port must be a whole number from 0 to 65535, not an object."),
        ("freshness_s = nan", "freshness_s must be a number from 0 to 315360000, not NaN."),
        ('log_level = "loud"', 'log_level must be one of DEBUG, INFO, WARNING or ERROR, not "loud".'),
        ("ca_file = 1", "ca_file must be the path of a file, not 1."),
        (
            "cors_origins = [1]",
            "Each item of cors_origins must be an origin, such as https://tools.example.com, not 1.",
        ),
        (
            'allow_destinations = ["nonsense"]',
            "Each item of allow_destinations must be CIDR[:port], not 'nonsense': an address or a network is expected, "
            "such as 10.0.0.0/8, 127.0.0.1:8080 or ::1.",
        ),
    ],
)
def test_mistake_in_the_file_is_refused_with_its_name(config_file: Path, text: str, said: str) -> None:
    config_file.write_text(text)
    assert refusal(str(config_file)) == f"{config_file}: {said}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"lanes = 1\nport = x\n", "is not valid TOML: see line 2, column 8."),
        (b"lanes = 1\nport = [1,", "is not valid TOML: see line 2, its last."),
        (b"lanes = 1\n\nhost = '\xff'", "is not UTF-8 text: see line 3."),
    ],
)
def test_file_that_is_not_toml_is_refused_with_the_line(config_file: Path, content: bytes, said: str) -> None:
    config_file.write_bytes(content)
    assert refusal(str(config_file)) == f"The configuration file {config_file} {said}"


def test_password_on_a_broken_line_is_not_repeated(config_file: Path) -> None:
    config_file.write_text('mongo_uri = "mongodb://user:needle@host/')
    assert "needle" not in refusal(str(config_file))


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "absent.toml")).endswith("absent.toml cannot be read: No such file or directory.")
    assert refusal(str(tmp_path)).endswith("cannot be read: Is a directory.")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("INVENTORY_PORT", "http", 'port must be a whole number from 0 to 65535, not "http".'),
        ("INVENTORY_PROCESSES", "0", 'processes must be a whole number from 1 to 256, not "0".'),
        (
            "INVENTORY_COLLECT_TIMEOUT_S",
            "nan",
            'collect_timeout_s must be a number above 0 and at most 3600, not "nan".',
        ),
        ("INVENTORY_FRESHNESS_S", "nan", 'freshness_s must be a number from 0 to 315360000, not "nan".'),
        ("INVENTORY_FRESHNESS_S", "inf", 'freshness_s must be a number from 0 to 315360000, not "inf".'),
        ("INVENTORY_ALLOW_LOOPBACK", "maybe", 'allow_loopback must be true or false, not "maybe".'),
        ("INVENTORY_LOG_LEVEL", "verbose", 'log_level must be one of DEBUG, INFO, WARNING or ERROR, not "verbose".'),
        ("INVENTORY_PROT", "1", "there is no such setting. Did you mean INVENTORY_PORT?"),
        ("INVENTORY_MONGO_URI", "mongodb://h/", "there is no such setting. Did you mean MONGO_URI?"),
        (
            "INVENTORY_USER_AGENT",
            "a\r\nb",
            'user_agent must be 1 to 512 printable ASCII characters, the first of them not a space, not "a\\r\\nb".',
        ),
        (
            "INVENTORY_DATABASE",
            "a.b",
            'database must be a name of 1 to 63 characters without spaces and / \\ . " $ * < > : | ?, not "a.b".',
        ),
        (
            "INVENTORY_CORS_ORIGINS",
            "https://a.example,b.example",
            'Each item of cors_origins must be an origin, such as https://tools.example.com, not "b.example".',
        ),
        ("INVENTORY_KEYS_FILE", "absent", "The keys file absent cannot be read: No such file or directory."),
    ],
)
def test_mistake_in_the_environment_is_refused_with_the_variable(variable: str, value: str, said: str) -> None:
    assert refusal(environ={variable: value}) == f"{variable}: {said}"


def test_mistake_in_a_flag_is_refused_with_the_flag() -> None:
    assert refusal(port="x") == '--port: port must be a whole number from 0 to 65535, not "x".'
    assert refusal(data_dir="") == '--data-dir: data_dir must be the path of a directory, not "".'
    assert refusal(allow_destinations=["::1", "nonsense"]).startswith(
        "--allow-destination: Each item of allow_destinations must be CIDR[:port], not 'nonsense': "
    )


def test_flag_that_is_given_more_than_once_adds_up() -> None:
    assert load(None, {}, {"allow_destinations": ["::1", "10.0.0.0/8"]}).allow_destinations == ("::1", "10.0.0.0/8")


@pytest.mark.parametrize("text", ["debug", "Debug", "DEBUG"])
def test_choice_is_taken_in_any_case(text: str) -> None:
    assert load(None, {"INVENTORY_LOG_LEVEL": text}, {}).log_level == "DEBUG"


@pytest.mark.parametrize("value", ["1", "1048576", "67108863"])
def test_memory_with_which_no_collector_starts_is_refused(value: str) -> None:
    assert refusal(environ={"INVENTORY_LANE_MEMORY_BYTES": value}) == (
        f"INVENTORY_LANE_MEMORY_BYTES: lane_memory_bytes must be 0, for no limit, or at least 67108864, not {value}."
    )


@pytest.mark.parametrize("value", [0, 67_108_864])
def test_no_bound_and_the_least_memory_are_taken(value: int) -> None:
    assert load(None, {"INVENTORY_LANE_MEMORY_BYTES": str(value)}, {}).lane_memory_bytes == value


def test_settings_that_do_not_go_together_are_refused() -> None:
    assert refusal(environ={"INVENTORY_RENEW_S": "8"}) == (
        "renew_s must be at most half of lease_s (15.0), not 8.0: otherwise one lost renewal loses the job."
    )
    assert refusal(environ={"INVENTORY_STORAGE_TIMEOUT_S": "15"}) == (
        "storage_timeout_s must be below lease_s (15.0), not 15.0: otherwise a lease can end before its claim is "
        "answered."
    )
    assert refusal(environ={"INVENTORY_RETRY_MAX_S": "1"}) == "retry_base_s must be at most retry_max_s (1.0), not 2.0."


@pytest.mark.parametrize(
    "uri", ["mongodb://user:needle@@host/", "mongodb+srv://user:needle@host,other/", "http://user:needle@host/"]
)
def test_wrong_mongo_uri_is_refused_with_its_source_and_without_repeating_it(config_file: Path, uri: str) -> None:
    config_file.write_text(f'mongo_uri = "{uri}"')
    for detail, source in (
        (refusal(environ={"MONGO_URI": uri}), "MONGO_URI"),
        (refusal(str(config_file)), str(config_file)),
    ):
        assert detail.startswith(f"{source}: mongo_uri must ")
        assert "needle" not in detail


@pytest.mark.parametrize("value", ["7171", "[7171]", "{needle = 7171}", "7171-01-01"])
def test_mongo_uri_of_a_wrong_type_is_not_shown_either(config_file: Path, value: str) -> None:
    config_file.write_text(f"mongo_uri = {value}")
    assert refusal(str(config_file)) == f"{config_file}: mongo_uri must be a MongoDB URI."


def test_printed_settings_do_not_show_the_password() -> None:
    settings = load(None, {"MONGO_URI": "mongodb://user:needle@host/"}, {})
    assert settings.mongo_uri == "mongodb://user:needle@host/"
    assert "needle" not in f"{settings!r} {settings}"
    assert "mongodb://***@host/" in repr(settings)


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = load(None, {"INVENTORY_ALLOW_DESTINATIONS": "10.0.0.0/8", "INVENTORY_LEASE_S": "20"}, {})
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings
