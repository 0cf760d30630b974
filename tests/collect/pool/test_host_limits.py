"""Host limits: how many collections a host gets at once, and the gap between their starts, counted at the host."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from metadata_inventory.collect.pool.host_limits import HostLimits
from metadata_inventory.collect.pool.lanes import Lane, Lanes
from metadata_inventory.model.capture import Capture
from tests.collect.conftest import HOSTS
from tests.collect.pool.lanes import collect, run, running, until
from tests.support.options import collector_options, lane_settings
from tests.support.origin import Origin
from tests.support.waiting import wait_until

GAP_S = 0.4


def test_a_host_has_no_more_than_its_number_under_way(origin: Origin) -> None:
    at_once, count = 3, 9
    for number in range(count):
        origin.page(f"/{number}")
        origin.hold(f"/{number}")

    async def test() -> None:
        async with running(lanes=1, host_concurrency=at_once) as lanes:
            tasks = [asyncio.create_task(collect(lanes, origin, f"/{number}")) for number in range(count)]
            for number in range(count):
                expected = min(count, at_once + number)
                await until(lambda expected=expected: len(held()) >= expected)
                await collect(
                    lanes, origin, host=HOSTS[1]
                )  # the requests of collections begun earlier have arrived by then
                assert len(held()) == expected
                origin.release(f"/{number}")
            assert {type(await task) for task in tasks} == {Capture}
            assert lanes.room(HOSTS[0]) == at_once

    def held() -> list[str]:
        return [request.path for request in origin.requests if request.path != "/"]

    run(test())


@pytest.mark.parametrize("busy", [True, False], ids=["in a lane at work", "in an idle lane"])
def test_a_hosts_collections_start_apart_and_delay_no_other_host(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    turns = 0
    turn = Lane._turn

    async def counted_turn(lane: Lane) -> None:
        nonlocal turns
        turns += 1
        await turn(lane)

    monkeypatch.setattr(Lane, "_turn", counted_turn)
    origin.hold("/held")

    async def test() -> None:
        async with running(lanes=1, host_gap_s=GAP_S, wait_ms=30_000, patience_s=60) as lanes:
            held = asyncio.create_task(collect(lanes, origin, "/held", HOSTS[3])) if busy else None
            apart = [asyncio.create_task(collect(lanes, origin)) for _ in range(3)]
            others = await asyncio.gather(*(collect(lanes, origin, host=host) for host in HOSTS[1:3]))
            outcomes = [*others, *(await asyncio.gather(*apart))]
            origin.release("/held")
            outcomes += [await held] if held else []
            assert {type(outcome) for outcome in outcomes} == {Capture}

    run(test())
    requests = [request for request in origin.requests if request.path == "/"]
    first, second, third = (request.at for request in requests if request.headers["host"].startswith(HOSTS[0]))
    assert min(second - first, third - second) > 0.7 * GAP_S  # only the first needs a new connection
    assert third - first > 1.8 * GAP_S
    assert all(request.at < third for request in requests[:-1])
    assert turns < 40, "the lane does not spin while it waits"


def test_an_order_that_waits_for_its_hosts_gap_can_be_given_up(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, host_gap_s=3600) as lanes:
            assert isinstance(await collect(lanes, origin), Capture)
            waiting = asyncio.create_task(collect(lanes, origin))
            await asyncio.sleep(0)
            assert lanes.room(HOSTS[0]) == 0
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            assert lanes.room(HOSTS[0]) == 0, "no order is taken in to wait for so long a gap"
            assert isinstance(await collect(lanes, origin, host=HOSTS[1]), Capture)

    run(test())
    assert origin.count("/") == 2


def test_hosts_are_forgotten_when_nothing_of_them_is_left() -> None:
    hosts = HostLimits(at_once=2, gap_s=0.01)
    for number in range(1000):
        name = f"host-{number}"
        hosts.enter(name)
        assert hosts.may_start(name)
        hosts.start(name)
        assert not hosts.may_start(name)
        hosts.leave(name, started=True)
    wait_until(lambda: hosts.may_start("host-999"), 10)
    assert not hosts.next_start_in_s(["host-999"])
    assert [table for table in vars(hosts).values() if isinstance(table, dict) and table] == []


@pytest.mark.parametrize(
    ("gap_s", "expected", "then"), [(0.0, 16, 15), (0.1, 16, 15), (0.9, 3, 2), (1.9, 2, 1), (60.0, 1, 0)]
)
def test_no_more_orders_wait_for_their_gap_than_start_soon(gap_s: float, expected: int, then: int) -> None:
    hosts = HostLimits(16, gap_s)
    assert hosts.room("a") == expected
    hosts.enter("a")
    assert hosts.room("a") == expected - 1
    hosts.start("a")
    assert hosts.room("a") == then, "the started collection no longer waits, but the next start is a gap away"
    assert hosts.room("b") == expected


def test_room_is_what_the_orders_ahead_leave() -> None:
    lanes = Lanes(collector_options(), lane_settings(lanes=1, lane_capacity=5, host_concurrency=3))
    assert lanes.room("a") == 3
    assert lanes.room("a", ["b"]) == 3, "an order of another host takes no room of this host"
    assert lanes.room("a", ["a", "b"]) == 2
    assert lanes.room("a", ["b"] * 4) == 1, "but it takes room of the lane"
    assert lanes.room("a", ["b"] * 5) == 0


def test_a_gap_that_ends_between_two_questions_is_not_waited_for_for_ever() -> None:
    hosts = HostLimits(16, 0.05)
    hosts.enter("a")
    hosts.start("a")
    hosts.enter("a")
    assert not hosts.may_start("a")
    wait_until(lambda: hosts.may_start("a"), 5)
    assert hosts.next_start_in_s(["a"]) == 0.0, "one more turn, and not none"
    assert hosts.next_start_in_s(["a"]) is None
