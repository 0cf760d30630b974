"""Where settings come from, which source wins, and what is refused with which words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.service.settings import Settings, describe, environment_variable, load, redacted
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
    assert describe(name).endswith(".")
    (paragraph,) = [part for part in DOCUMENTED.split("\n\n") if f"\n# {name} = " in part]
    assert f"# {describe(name)}\n" in paragraph


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
        environment_variable(name): ",".join(value) if isinstance(value, tuple) else str(value)
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
        ("prot = 1", "there is no setting 'prot'; did you mean port"),
        ("port = 70000", "port: Expected `int` <= 65535"),
        ("port = true", "port: Expected `int`"),
        ("[port]\nx = 1", "port: Expected `int`"),
        ('log_level = "loud"', "log_level: Invalid enum value"),
        ('allow_destinations = ["nonsense"]', "allow_destinations: "),
        ("port =", "is not TOML"),
    ],
)
def test_mistake_in_the_file_is_refused_with_its_name(config_file: Path, text: str, said: str) -> None:
    config_file.write_text(text)
    detail = refusal(str(config_file))
    assert str(config_file) in detail
    assert said in detail


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "absent.toml")).endswith("absent.toml cannot be read: No such file or directory.")
    assert refusal(str(tmp_path)).endswith("cannot be read: Is a directory.")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("INVENTORY_PORT", "http", "INVENTORY_PORT: Expected `int`."),
        ("INVENTORY_PROCESSES", "0", "INVENTORY_PROCESSES: Expected `int` >= 1."),
        ("INVENTORY_COLLECT_TIMEOUT_S", "nan", "INVENTORY_COLLECT_TIMEOUT_S: "),
        ("INVENTORY_FRESHNESS_S", "nan", "INVENTORY_FRESHNESS_S: "),
        ("INVENTORY_FRESHNESS_S", "inf", "INVENTORY_FRESHNESS_S: "),
        ("INVENTORY_PROT", "1", "INVENTORY_PROT: there is no such setting; did you mean INVENTORY_PORT."),
        ("INVENTORY_MONGO_URI", "mongodb://h/", "did you mean MONGO_URI"),
        ("INVENTORY_USER_AGENT", "a\r\nb", "INVENTORY_USER_AGENT: "),
        ("INVENTORY_DATABASE", "a.b", "INVENTORY_DATABASE: "),
        ("INVENTORY_ALLOW_DESTINATIONS", "nonsense", "INVENTORY_ALLOW_DESTINATIONS: "),
    ],
)
def test_mistake_in_the_environment_is_refused_with_the_variable(variable: str, value: str, said: str) -> None:
    assert said in refusal(environ={variable: value})


def test_mistake_in_a_flag_is_refused_with_the_flag() -> None:
    assert refusal(port="x") == "--port: Expected `int`."
    assert refusal(data_dir="").startswith("--data-dir: ")
    assert refusal(allow_destinations="nonsense").startswith("--allow-destination: ")


@pytest.mark.parametrize("value", ["1", "1048576", "67108863"])
def test_memory_with_which_no_collector_starts_is_refused(value: str) -> None:
    assert refusal(environ={"INVENTORY_LANE_MEMORY_BYTES": value}) == (
        "INVENTORY_LANE_MEMORY_BYTES: a collector's process needs 67_108_864 at least; 0 is no bound."
    )


@pytest.mark.parametrize("value", [0, 67_108_864])
def test_no_bound_and_the_least_memory_are_taken(value: int) -> None:
    assert load(None, {"INVENTORY_LANE_MEMORY_BYTES": str(value)}, {}).lane_memory_bytes == value


def test_settings_that_do_not_go_together_are_refused() -> None:
    assert "renew_s must be at most half of lease_s" in refusal(environ={"INVENTORY_RENEW_S": "8"})
    assert "retry_base_s" in refusal(environ={"INVENTORY_RETRY_MAX_S": "1"})
    assert "storage_timeout_s" in refusal(environ={"INVENTORY_STORAGE_TIMEOUT_S": "15"})


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://user:needle/x@host:1/",
        "mongodb://user:needle@host:needle/",
        "mongodb://user:needle@@host/",
        "mongodb://user:needle%@host/",
        "mongodb://user.needle/x@host",
        "mongodb+srv://user:needle",
        "mongodb+srv://user:needle@",
        "mongodb+srv://user:needle%40host.invalid/db",
        "mongodb+srv://user.needle.aa/b@host",
        "mongodb+srv://user.needle.aa?b@host",
        "mongodb+srv://user:needle@@host/",
        "mongodb+srv://user:needle%@host/",
        "mongodb+srv://user:needle:needle@host/",
        "mongodb+srv://user:needle@host:27017/",
        "mongodb+srv://user:needle@host,other/",
        "mongodb+srv://user:needle@host/?tls=needle",
        "http://user:needle@host/",
        "user:needle@host",
    ],
)
def test_wrong_mongo_uri_is_refused_without_repeating_it(uri: str) -> None:
    detail = refusal(environ={"MONGO_URI": uri})
    assert detail.startswith("MONGO_URI: ")
    assert "needle" not in detail


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://host:27017/", "mongodb://host:27017/"),
        ("mongodb://host?tls=true", "mongodb://host"),
        ("mongodb://[::1]:27017,b.example:1/db", "mongodb://[::1]:27017,b.example:1/db"),
        ("mongodb+srv://cluster.example.net/db?w=1", "mongodb+srv://cluster.example.net/db"),
        ("mongodb+srv://user:needle", "mongodb+srv://***"),
        ("mongodb+srv://user:needle%40host.invalid/db", "mongodb+srv://***"),
        ("mongodb+srv://needle.aa/b@host", "mongodb+srv://***"),
        ("mongodb://user:needle@host/?appName=a@needle", "mongodb://***"),
        ("mongodb://host/needle%2F", "mongodb://***"),
        ("needle://host/", "***"),
        ("mongodb://user:needle@a,b:1/db?tls=true", "mongodb://***@a,b:1/db"),
        ("mongodb+srv://user:needle@host/", "mongodb+srv://***@host/"),
        ("mongodb://user:needle@needle/needle?needle@host/", "mongodb://***"),
        ("mongodb://host/?tlsCertificateKeyFilePassword=needle", "mongodb://host/"),
        ("needle", "***"),
    ],
)
def test_redacted_uri_shows_where_and_not_with_what(uri: str, shown: str) -> None:
    assert redacted(uri) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb+srv://cluster.example.net",
        "mongodb+srv://user:p%40ss@cluster.example.net/db?retryWrites=true&w=majority",
        "mongodb+srv://user@cluster.example.net/?authMechanism=MONGODB-X509&srvMaxHosts=2&srvServiceName=other",
    ],
)
def test_srv_uri_is_taken_without_looking_it_up(uri: str) -> None:
    assert load(None, {"MONGO_URI": uri}, {}).mongo_uri == uri


def test_printed_settings_do_not_show_the_password() -> None:
    settings = load(None, {"MONGO_URI": "mongodb://user:needle@host/"}, {})
    assert settings.mongo_uri == "mongodb://user:needle@host/"
    assert "needle" not in f"{settings!r} {settings}"
    assert "mongodb://***@host/" in repr(settings)


def test_settings_survive_the_way_to_a_worker() -> None:
    settings = load(None, {"INVENTORY_ALLOW_DESTINATIONS": "10.0.0.0/8", "INVENTORY_LEASE_S": "20"}, {})
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings
