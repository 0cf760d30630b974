"""What the composition root makes: destination policy, options of the lanes, and a service whose lanes do not start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from ipaddress import ip_address

import msgspec
import pytest

from metadata_inventory.collect.engine import entry
from metadata_inventory.collect.options import CollectorOptions, HeaderLimits, LaneSettings
from metadata_inventory.errors import CollectorUnavailable
from metadata_inventory.model.capture import CollectionOrder
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.service.bootstrap import (
    Service,
    collector_options,
    destinations_of,
    lane_settings,
    read_own_addresses,
)
from metadata_inventory.service.settings import Settings
from tests.collect.pool.lanes import children
from tests.support.waiting import wait_until_async

OPTIONS = [CollectorOptions, CollectPolicy, HeaderLimits, LaneSettings]
REFUSED = "http://127.0.0.1/"


def outward(family: socket.AddressFamily, ip: str) -> str | None:
    """The address from which this host would connect to `ip`, None without a route. Nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((ip, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None


@pytest.mark.parametrize(
    ("family", "ip"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "192.0.2.99"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "2001:db8::99"),
    ],
)
def test_own_addresses_are_those_that_sockets_use(family: socket.AddressFamily, ip: str) -> None:
    used = outward(family, ip)
    if used is None:
        pytest.skip("this host has no way there")
    assert used in [own.partition("%")[0] for own in read_own_addresses()]


def test_own_addresses_are_part_of_the_rules() -> None:
    own = destinations_of(Settings()).own_addresses
    assert ip_address("127.0.0.1") in own
    assert own == DestinationPolicy.parse([], own_addresses=read_own_addresses()).own_addresses


def test_loopback_is_opened_by_its_switch_and_nothing_else_is() -> None:
    shut, opened = destinations_of(Settings()), destinations_of(Settings(allow_loopback=True))
    for ip in ("127.0.0.1", "127.255.255.254", "::1"):
        for port in (1, 80, 27017):
            assert not shut.allows_address(ip, port)
            assert opened.allows_address(ip, port)
    assert not opened.allows_address("10.0.0.1", 80)
    assert opened.fingerprint == DestinationPolicy.parse(["127.0.0.0/8", "::1"]).fingerprint


def test_loopback_switch_adds_to_the_destinations() -> None:
    both = destinations_of(Settings(allow_loopback=True, allow_destinations=("10.0.0.0/8",)))
    assert both.allows_address("10.0.0.1", 9)
    assert both.allows_address("127.0.0.1", 9)


@pytest.mark.parametrize("kind", OPTIONS)
def test_each_option_is_a_setting_or_has_a_default_and_never_both(kind: type[msgspec.Struct]) -> None:
    given = {"destinations", "headers", "rules"}  # made from settings, not copied
    for field in msgspec.structs.fields(kind):
        assert field.required == (field.name in given or field.name in Settings.__struct_fields__), field.name


def test_options_have_the_values_of_the_settings() -> None:
    settings = Settings(
        collect_timeout_s=1.5, max_header_lines=20, lane_body_bytes=1 << 20, lane_capacity=7, host_concurrency=3
    )
    options, lanes = collector_options(settings, DestinationPolicy()), lane_settings(settings)
    assert (options.collect_timeout_s, options.lane_body_bytes, options.headers.max_header_lines) == (1.5, 1 << 20, 20)
    assert (lanes.lane_capacity, lanes.host_concurrency, options.host_concurrency) == (7, 3, 3)


def test_service_whose_collectors_do_not_start_is_not_ready_until_they_do(
    mongo_uri: str, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_ready() -> bool:
        with contextlib.suppress(CollectorUnavailable):
            await service.services.check()
            return True
        return False

    async def is_not_ready() -> bool:
        with contextlib.suppress(CollectorUnavailable):  # the lane notices only when it has something to collect
            await service._lanes.collect(CollectionOrder(token=uuid.uuid4().hex, url=REFUSED), "127.0.0.1")
        return not await is_ready()

    async def test() -> None:
        await service.start()
        try:
            await wait_until_async(is_ready, 10)
            with monkeypatch.context() as patched:
                patched.setattr(entry, "start", os.abort)  # pickled by name: the child process aborts, not this one
                children()[0].kill()
                await wait_until_async(is_not_ready, 20)
            await wait_until_async(is_ready, 20)
        finally:
            await service.close()

    async def make() -> Service:
        return Service(Settings(mongo_uri=mongo_uri, database=database_name, lanes=1))

    with asyncio.Runner() as runner:
        service = runner.run(make())
        runner.run(test())
