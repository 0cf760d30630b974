"""The variables of a Kubernetes Service called inventory: recognised, logged once, and never taken as settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from metadata_inventory.errors import InvalidSettings
from metadata_inventory.service.kubernetes import find_service_variables
from metadata_inventory.service.setting_sources import load
from metadata_inventory.service.settings import Settings
from tests.support.running import Service

# What the kubelet sets for a Service `inventory` with the ports http (8000/TCP) and dns (53/UDP) at 10.0.0.1, and for
# `inventory-db` at fd00::1.
INJECTED = {
    "INVENTORY_SERVICE_HOST": "10.0.0.1",
    "INVENTORY_SERVICE_PORT": "8000",
    "INVENTORY_SERVICE_PORT_HTTP": "8000",
    "INVENTORY_SERVICE_PORT_DNS_UDP": "53",
    "INVENTORY_PORT": "tcp://10.0.0.1:8000",
    "INVENTORY_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "INVENTORY_PORT_8000_TCP_PROTO": "tcp",
    "INVENTORY_PORT_8000_TCP_PORT": "8000",
    "INVENTORY_PORT_8000_TCP_ADDR": "10.0.0.1",
    "INVENTORY_PORT_53_UDP": "udp://10.0.0.1:53",
    "INVENTORY_PORT_53_UDP_PROTO": "udp",
    "INVENTORY_PORT_53_UDP_PORT": "53",
    "INVENTORY_PORT_53_UDP_ADDR": "10.0.0.1",
    "INVENTORY_DB_SERVICE_HOST": "fd00::1",
    "INVENTORY_DB_SERVICE_PORT": "27017",
    "INVENTORY_DB_PORT": "tcp://[fd00::1]:27017",
    "INVENTORY_DB_PORT_27017_TCP": "tcp://[fd00::1]:27017",
    "INVENTORY_DB_PORT_27017_TCP_PROTO": "tcp",
    "INVENTORY_DB_PORT_27017_TCP_PORT": "27017",
    "INVENTORY_DB_PORT_27017_TCP_ADDR": "fd00::1",
}


@pytest.mark.parametrize(("variable", "value"), INJECTED.items())
def test_each_form_is_recognised_and_changes_no_setting(variable: str, value: str) -> None:
    assert find_service_variables({variable: value}) == [variable]
    assert load(None, {variable: value}, {}) == Settings()


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:8000", "udp://10.0.0.1:53", "sctp://[fd00::1]:8000"])
def test_port_of_every_protocol_is_recognised(url: str) -> None:
    assert load(None, {"INVENTORY_PORT": url}, {}).port == Settings().port


def test_other_sources_still_set_the_port(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("port = 81")
    assert load(str(tmp_path / "settings.toml"), INJECTED, {}).port == 81
    assert load(None, INJECTED, {"port": "82"}).port == 82


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("INVENTORY_SERVICE_HOST", "name.example"),
        ("INVENTORY_SERVICE_HOST", "10.0.0.1\n"),
        ("INVENTORY_SERVICE_PORT", "http"),
        ("INVENTORY_SERVICE_PORT_", "8000"),
        ("INVENTORY_SERVICE_POR", "8000"),
        ("INVENTORY_SERVICES_HOST", "10.0.0.1"),
        ("INVENTORY_PORT", "tcp://name.example:8000"),
        ("INVENTORY_PORT", "http://10.0.0.1:8000"),
        ("INVENTORY_PORT", "tcp://10.0.0.1"),
        ("INVENTORY_PORT_8000", "tcp://10.0.0.1:8000"),
        ("INVENTORY_PORT_8000_TCP", "8000"),
        ("INVENTORY_PORT_8000_TCP_PROTO", "http"),
        ("INVENTORY_PORT_8000_TCP_PORTS", "8000"),
        ("INVENTORY_PORT_8000_HTTP", "http://10.0.0.1:8000"),
        ("INVENTORY_PORTS", "8000"),
    ],
)
def test_what_only_resembles_a_form_is_refused_like_any_misspelt_setting(variable: str, value: str) -> None:
    assert find_service_variables({variable: value}) == []
    with pytest.raises(InvalidSettings, match=f"^{variable}: "):
        load(None, {variable: value}, {})


def test_variables_of_other_services_are_ignored() -> None:
    assert find_service_variables({"OTHER_SERVICE_HOST": "10.0.0.1", "INVENTORYDB_PORT": "tcp://10.0.0.1:1"}) == []


@pytest.mark.timeout(120)
def test_program_starts_among_them_and_names_them_once(tmp_path: Path) -> None:
    with Service(tmp_path, environ=INJECTED) as service:
        service.wait_for_answer()
        (line,) = [line for line in service.log.splitlines() if "INVENTORY_" in line]
        assert " INFO " in line
        assert line.endswith(f"not taken as settings: {', '.join(sorted(INJECTED))}")
        assert service.end() == 0
