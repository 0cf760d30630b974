"""Lost lane processes: the URL that kills is found, its neighbours are collected, and nothing stays for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from metadata_inventory.collect.engine import entry
from metadata_inventory.collect.engine.results import Results
from metadata_inventory.collect.pool import isolation, lane_process_handle
from metadata_inventory.collect.pool.lane_process import LaneProcess
from metadata_inventory.errors import CollectorUnavailable
from metadata_inventory.model.capture import Capture, Failure, FailureCode, Outcome
from tests.collect.conftest import HOSTS
from tests.collect.pool.lanes import begin, children, collect, forkserver, is_alive, process_of, run, running, until
from tests.support.origin import Origin
from tests.support.waiting import POLL_S


@contextmanager
def deadly(origin: Origin, path: str) -> Iterator[list[psutil.Process]]:
    """Every process that requests the path is killed. Yields the processes that were."""
    victims: list[psutil.Process] = []
    ended = threading.Event()

    def kill() -> None:
        punished: set[int] = set()
        while not ended.wait(POLL_S):
            for request in origin.requests:
                young = time.monotonic() - request.at < 10  # no other connection has its port yet
                if request.path == path and young and request.client_port not in punished:
                    victim = process_of(request)  # may be missed once: the kernel's table is not read in one piece
                    if victim is not None:
                        punished.add(request.client_port)
                        victims.append(victim)
                        with contextlib.suppress(psutil.NoSuchProcess):  # another request has just killed it
                            victim.kill()

    origin.hold(path)
    thread = threading.Thread(target=kill, name="killer")
    thread.start()
    try:
        yield victims
    finally:
        ended.set()
        thread.join()
        origin.release(path)


def code(outcome: Outcome) -> FailureCode | None:
    return outcome.code if isinstance(outcome, Failure) else None


def captured(outcomes: list[Outcome]) -> bool:
    return {type(outcome) for outcome in outcomes} == {Capture}


@pytest.mark.parametrize("killers", [1, 2])
def test_a_url_that_kills_its_collector_is_found_and_its_neighbours_come_home(origin: Origin, killers: int) -> None:
    async def test() -> None:
        async with running() as lanes:
            origin.hold("/held")
            neighbours = await begin(lanes, origin, "/held", HOSTS * 10)
            with deadly(origin, "/deadly") as victims:
                killing = [asyncio.create_task(collect(lanes, origin, "/deadly")) for _ in range(killers)]
                await until(lambda: len(victims) > killers)
                origin.release("/held")
                assert [code(outcome) for outcome in await asyncio.gather(*killing)] == (
                    [FailureCode.WORKER_LOST] * killers
                )
                assert captured(await asyncio.gather(*neighbours))
                assert len(victims) <= killers * 8
            assert lanes.room(HOSTS[0]) == lanes.settings.host_concurrency
            assert captured(await asyncio.gather(*(collect(lanes, origin, host=host) for host in HOSTS)))
            await until(lambda: len(children()) == 2)

    run(test())


def test_other_lanes_are_not_touched(origin: Origin) -> None:
    async def test() -> None:
        async with running() as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS * 2)
            with deadly(origin, "/deadly") as victims:
                assert code(await collect(lanes, origin, "/deadly", alone=True)) is FailureCode.WORKER_LOST
                assert len(victims) == 1
            assert origin.count("/held") == len(tasks)
            origin.release("/held")
            assert captured(await asyncio.gather(*tasks))

    run(test())


def test_orders_hit_by_a_kill_from_outside_are_collected_again_together(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS[:3] * 10)
            (victim,) = children()
            victim.kill()
            await asyncio.to_thread(origin.wait_for, "/held", 60)
            assert len({process_of(request) for request in origin.requests[30:]}) == 1
            assert lanes.room(HOSTS[0]) == lanes.settings.host_concurrency - 10
            assert isinstance(await collect(lanes, origin), Capture)
            origin.release("/held")
            assert captured(await asyncio.gather(*tasks))
            assert origin.count("/held") == 60
            await until(lambda: len(children()) == 1)

    run(test())


@pytest.mark.parametrize("alone", [False, True], ids=["in a lane", "in isolation"])
def test_forkservers_lost_again_and_again_cost_no_collection(origin: Origin, alone: bool) -> None:
    async def test() -> None:
        async with running() as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS, alone=alone)
            for times in range(2, 5):
                before = [process_of(request) for request in origin.requests[-len(HOSTS) :]]
                forkserver().kill()
                await asyncio.to_thread(origin.wait_for, "/held", times * len(HOSTS))
                assert not any(is_alive(process) for process in before if process), (
                    "the old processes are gone before new ones begin"
                )
            assert len(children()) == (4 if alone else 2)
            origin.release("/held")
            assert captured(await asyncio.gather(*tasks))

    run(test())


def test_an_order_is_not_moved_from_process_to_process_for_ever(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_process_handle, "MAX_MOVES", 1)

    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS)
            forkserver().kill()
            await asyncio.to_thread(origin.wait_for, "/held", 2 * len(HOSTS))
            forkserver().kill()
            assert {code(outcome) for outcome in await asyncio.gather(*tasks)} == {FailureCode.WORKER_LOST}

    run(test())


def test_a_silent_process_is_replaced_and_its_orders_are_collected(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, patience_s=0.5) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS)
            children()[0].suspend()
            await asyncio.to_thread(origin.wait_for, "/held", 2 * len(HOSTS))
            origin.release("/held")
            assert captured(await asyncio.gather(*tasks))

    run(test())


@pytest.mark.parametrize("handed_over", [False, True], ids=["before the process knows", "when the process is told"])
def test_an_order_that_was_given_up_leaves_no_blame_to_its_neighbour(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, handed_over: bool
) -> None:
    """The process falls silent while it may still hold the order that was given up, so both orders are suspects."""
    advance = LaneProcess.advance

    async def advance_with_the_silenced(process: LaneProcess, orders: Any, abandoned: Any, wait_ms: int) -> Results:
        if abandoned:
            children()[0].suspend()
        return await advance(process, orders, abandoned, wait_ms)

    async def test() -> None:
        async with running(lanes=1, patience_s=0.5) as lanes:
            origin.hold("/held")
            given_up, kept = await begin(lanes, origin, "/held", HOSTS[:2])
            if handed_over:
                monkeypatch.setattr(LaneProcess, "advance", advance_with_the_silenced)
            else:
                children()[0].suspend()
            given_up.cancel()
            await asyncio.to_thread(origin.wait_for, "/held", 3)
            origin.release("/held")
            assert isinstance(await kept, Capture)

    run(test())


def test_an_order_in_isolation_can_be_given_up(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            given_up, kept = await begin(lanes, origin, "/held", HOSTS[:2])
            children()[0].kill()
            await asyncio.to_thread(origin.wait_for, "/held", 4)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            assert [lanes.room(host) for host in HOSTS[:2]] == [16, 15]
            (process,) = {process_of(request) for request in origin.requests[2:]} - {None}
            assert process is not None
            await until(lambda: len(process.net_connections("tcp")) == 1)
            origin.release("/held")
            assert isinstance(await kept, Capture)

    run(test())


def test_an_order_that_waits_for_isolation_can_be_given_up(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "PROCESSES", 1)

    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            (held,) = await begin(lanes, origin, "/held", HOSTS[:1], alone=True)
            given_up, kept = (asyncio.create_task(collect(lanes, origin, path, alone=True)) for path in ("/up", "/"))
            await until(lambda: len(lanes._isolation._groups) == 2)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            assert lanes.room(HOSTS[0]) == 14
            origin.release("/held")
            assert captured(await asyncio.gather(held, kept))
            assert (origin.count("/up"), origin.connections) == (0, 1), "one after the other in one process"

    run(test())


def test_lone_orders_run_side_by_side_each_in_a_process_of_its_own(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS[:3], alone=True)
            assert len({process_of(request) for request in origin.requests}) == 3
            assert isinstance(await collect(lanes, origin, alone=True), Capture)
            origin.release("/held")
            assert captured(await asyncio.gather(*tasks))
            await until(lambda: len(children()) == 1)
            assert isinstance(await collect(lanes, origin, alone=True), Capture)

    run(test())


def test_closing_ends_orders_in_isolation_and_those_that_wait_for_it(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "PROCESSES", 1)

    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", HOSTS[:1], alone=True)
            tasks.append(asyncio.create_task(collect(lanes, origin, alone=True)))
            await until(lambda: len(lanes._isolation._groups) == 1)
            for process in children():
                process.suspend()  # `close` does not wait for a silent process
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 5
        assert {code(outcome) for outcome in await asyncio.gather(*tasks)} == {FailureCode.INTERNAL_ERROR}
        assert not children()

    run(test())


@pytest.mark.parametrize("alone", [False, True], ids=["in a lane", "in isolation"])
def test_orders_that_wait_for_processes_that_do_not_start_are_refused(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    """All of them at once, and not one after the other."""
    monkeypatch.setattr(isolation, "PROCESSES", 1)
    starts: list[LaneProcess] = []
    start = LaneProcess.start

    async def counted_start(process: LaneProcess, timeout_s: float) -> None:
        starts.append(process)
        await start(process, timeout_s)

    async def test() -> None:
        async with running(lanes=1, lane_capacity=5 if alone else 3) as lanes:
            with monkeypatch.context() as patched:
                patched.setattr(entry, "start", os.abort)  # pickled by name: it fails in the lane process
                patched.setattr(LaneProcess, "start", counted_start)
                process = lanes._lanes[0]._handle._process
                assert process is not None
                children()[0].kill()
                await until(lambda: not process.alive)
                tasks = [asyncio.create_task(collect(lanes, origin, alone=alone)) for _ in range(5)]
                refused = await asyncio.gather(*tasks, return_exceptions=True)
                assert {type(one) for one in refused} == {CollectorUnavailable}, "other workers can claim their jobs"
                assert len(starts) == 3
                if not alone:
                    assert (lanes.down, lanes.full(), lanes.room(HOSTS[0])) == (True, True, 0)
                    with pytest.raises(CollectorUnavailable):
                        await collect(lanes, origin)
            await until(lambda: lanes.room(HOSTS[0]), what="the lane to be up again by itself")
            assert isinstance(await collect(lanes, origin, alone=alone), Capture)

    run(test())


def test_a_body_beyond_the_bound_of_memory_costs_its_neighbours_only_time(origin: Origin) -> None:
    """The bound is RLIMIT_DATA. The body budget is set higher, so that it does not pause the transfer before."""
    mib = 1024 * 1024
    options = {
        "lane_memory_bytes": 256 * mib,
        "max_body_bytes": 1024 * mib,
        "max_wire_bytes": 1024 * mib,
        "lane_body_bytes": 2048 * mib,
    }
    origin.answer("/endless", b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", endless=os.urandom(mib))

    async def test() -> None:
        async with running(lanes=1, options=options) as lanes:
            origin.hold("/held")
            neighbours = await begin(lanes, origin, "/held", HOSTS[:3])
            assert code(await collect(lanes, origin, "/endless", HOSTS[3])) == FailureCode.WORKER_LOST
            origin.release("/held")
            assert captured(await asyncio.gather(*neighbours))

    run(test())
