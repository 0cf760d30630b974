"""Every hostile URL as the target of a redirect, and with the check of URLs switched off."""

from __future__ import annotations

import pytest

from metadata_inventory.errors import InvalidUrl
from metadata_inventory.model.capture import Capture, Failure
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.urls import normalize
from tests.hostile.conftest import Collector, NoRules, SocketsOnly, Zone, leads_inside
from tests.hostile.trap import ORIGIN, Trap
from tests.hostile.urls import ELSEWHERE, KEPT, NAMES, PROHIBITED, URLS, HostileUrl
from tests.support.origin import Origin


def dialable(text: str) -> bool:
    try:
        normalize(text)
    except InvalidUrl:
        return False
    return True


@pytest.mark.parametrize("hostile", URLS, ids=lambda hostile: hostile.name)
def test_a_redirect_does_not_lead_there(hostile: HostileUrl, collector: Collector, origin: Origin, trap: Trap) -> None:
    location = hostile.url.format(port=trap.port).encode().decode("latin-1")
    origin.redirect("/", location)
    collector.resolve = leads_inside
    if hostile.redirect == PROHIBITED:
        failure = collector.refused(origin.url("/"))
        assert [exchange.response is not None for exchange in failure.exchanges] == [True, False]
    else:
        capture = collector.capture(origin.url("/"))
        assert len(capture.exchanges) == {KEPT: 1, ELSEWHERE: 2}[hostile.redirect]
        assert {exchange.server.ip for exchange in capture.exchanges if exchange.server} == {ORIGIN}


@pytest.mark.parametrize(
    "hostile", [one for one in URLS if dialable(one.url.format(port=80))], ids=lambda hostile: hostile.name
)
def test_no_socket_is_made_for_it(hostile: HostileUrl, collector: Collector, trap: Trap) -> None:
    """Without the look at the URL, so that the addresses alone decide."""
    collector.options["destinations"] = SocketsOnly()
    collector.resolve = leads_inside
    failure = collector.refused(normalize(hostile.url.format(port=trap.port)).href)
    assert len(failure.exchanges) == 1


@pytest.mark.parametrize("hostile", NAMES, ids=lambda hostile: hostile.name)
def test_a_refused_name_is_not_looked_up(hostile: HostileUrl, collector: Collector, trap: Trap) -> None:
    collector.options["destinations"] = DestinationPolicy()
    collector.resolve = zone = Zone()
    collector.refused(normalize(hostile.url.format(port=trap.port)).href)
    assert zone.asked == []


@pytest.mark.parametrize("hostile", [one for one in URLS if one.reaches], ids=lambda hostile: hostile.name)
def test_the_trap_is_laid_where_it_leads(hostile: HostileUrl, trap: Trap, request: pytest.FixtureRequest) -> None:
    """Nobody would come to it either way if this failed."""
    if not trap.listens_on(hostile.reaches or ""):
        pytest.skip("this host has no such address")
    collector = Collector()
    request.addfinalizer(collector.close)
    collector.options["destinations"] = NoRules()
    collector.resolve = leads_inside
    assert collector.springs(normalize(hostile.url.format(port=trap.port)).href, trap)


def test_there_are_at_least_a_hundred_urls_and_no_two_of_one_name() -> None:
    assert len(URLS) >= 100
    assert len({hostile.name for hostile in URLS}) == len(URLS)


def test_refusal_and_capture_are_told_apart(collector: Collector, origin: Origin) -> None:
    """What the other tests ask of an outcome can fail."""
    assert isinstance(collector.collect(origin.url("/")), Capture)
    with pytest.raises(AssertionError):
        collector.refused(origin.url("/"))
    assert isinstance(collector.collect("http://nowhere.example/"), Failure)
    with pytest.raises(AssertionError):
        collector.refused("http://nowhere.example/")
