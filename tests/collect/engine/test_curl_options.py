"""Whether an address is this host's own, by the kernel."""

from __future__ import annotations

import sys

import psutil
import pytest

from metadata_inventory.collect.engine.curl_options import is_own
from metadata_inventory.service.bootstrap import read_own_addresses


def test_own_addresses_are_known_as_the_kernel_has_them_now() -> None:
    """127.0.0.2 is not the first address of its network: connections to it come from 127.0.0.1."""
    own = [ip for ip in read_own_addresses() if "%" not in ip]
    assert "127.0.0.1" in own
    others = ["127.0.0.2", "::ffff:127.0.0.1", "::ffff:127.0.0.2"] if sys.platform == "linux" else []
    assert [ip for ip in (*own, *others) if not is_own(ip, 80)] == []


@pytest.mark.parametrize(
    "ip", ["198.51.100.77", "::ffff:198.51.100.77", "2001:db8::77", "fe80::77", "fe80::77%lo", "255.255.255.255"]
)
def test_addresses_of_others_and_of_nobody_are_not_own(ip: str) -> None:
    """With a route and without one. Opening the socket itself fails for an address that the kernel does not accept."""
    assert not is_own(ip, 80)


def test_asking_leaves_no_descriptor() -> None:
    before = psutil.Process().num_fds()
    for ip in ("127.0.0.1", "::1", "198.51.100.77", "2001:db8::77"):
        is_own(ip, 80)
    assert psutil.Process().num_fds() == before
