"""Lanes with their real processes: some are killed, hang or do not start, and the others must go on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from metadata_inventory.collect.engine import entry
from metadata_inventory.collect.pool.lane_process import LaneProcess, LaneProcessLost
from metadata_inventory.collect.pool.lanes import Lanes
from metadata_inventory.errors import CollectorUnavailable, StartError
from metadata_inventory.model.capture import Capture, Failure, FailureCode
from tests.collect.conftest import HOSTS
from tests.collect.pool.lanes import (
    DEADLINE_S,
    begin,
    children,
    collect,
    forkserver,
    is_alive,
    process_of,
    run,
    running,
    until,
)
from tests.support.options import collector_options, lane_settings
from tests.support.origin import DEFAULT_PAGE, Origin
from tests.support.waiting import GONE_S, wait_until

REPOSITORY = Path(__file__).parents[3]


def test_pages_are_collected(origin: Origin) -> None:
    async def test() -> None:
        async with running() as lanes:
            outcomes = await asyncio.gather(*(collect(lanes, origin, host=host) for host in HOSTS * 5))
            assert {type(outcome) for outcome in outcomes} == {Capture}
            assert len(children()) == 2
        await until(lambda: not children())

    run(test())


def test_a_host_stays_in_its_lane_and_so_on_its_connection(origin: Origin) -> None:
    async def test() -> None:
        async with running() as lanes:
            for host in HOSTS * 3:
                await collect(lanes, origin, host=host)
            assert origin.connections == len(HOSTS)

    run(test())


def test_300_held_connections_progress_together(origin: Origin) -> None:
    async def test() -> None:
        async with running(host_concurrency=80) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", [HOSTS[number % 4] for number in range(300)])
            assert not any(task.done() for task in tasks)
            assert isinstance(await collect(lanes, origin), Capture)
            origin.release("/held")
            outcomes = await asyncio.gather(*tasks)
            assert {type(outcome) for outcome in outcomes} == {Capture}

    run(test())


def test_a_new_order_is_begun_at_once_while_another_is_under_way(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, wait_ms=20_000, patience_s=60) as lanes:
            origin.hold("/held")
            (held,) = await begin(lanes, origin, "/held", [HOSTS[0]])
            assert isinstance(await asyncio.wait_for(collect(lanes, origin), 10), Capture)
            origin.release("/held")
            assert isinstance(await held, Capture)

    run(test())


def test_room_is_what_is_left_of_lane_and_host(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, lane_capacity=3, host_concurrency=2) as lanes:
            assert lanes.room(HOSTS[0]) == 2
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", [HOSTS[0], HOSTS[0]])
            assert (lanes.room(HOSTS[0]), lanes.room(HOSTS[1])) == (0, 1)
            tasks += await begin(lanes, origin, "/held", [HOSTS[1]])
            assert lanes.room(HOSTS[2]) == 0
            origin.release("/held")
            await asyncio.gather(*tasks)
            assert lanes.room(HOSTS[0]) == 2
        assert lanes.room(HOSTS[0]) == 0

    run(test())


def test_orders_beyond_the_capacity_wait_in_the_lane(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, lane_capacity=2) as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", [HOSTS[0]] * 2)
            waiting = [asyncio.create_task(collect(lanes, origin)) for _ in range(3)]
            waiting[0].cancel()
            await asyncio.gather(waiting[0], return_exceptions=True)
            lane = lanes._lanes[0]
            await until(lambda: not lane._work.is_set())  # the lane has taken the orders that may start
            assert len(lane._waiting) == 2
            origin.release("/held")
            outcomes = await asyncio.gather(*tasks, *waiting[1:])
            assert {type(outcome) for outcome in outcomes} == {Capture}

    run(test())


def test_a_cancelled_collection_is_cut_off(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1) as lanes:
            origin.hold("/held")
            (task,) = await begin(lanes, origin, "/held", [HOSTS[0]])
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert lanes.room(HOSTS[0]) == lanes.settings.host_concurrency
            assert isinstance(await collect(lanes, origin), Capture)
            origin.release("/held")  # a held request does not notice that its connection is closed
            await asyncio.to_thread(origin.wait_until, lambda: origin.closed == 1)

    run(test())


def test_a_killed_lane_process_loses_the_order_that_was_alone_in_it_and_the_lanes_go_on(origin: Origin) -> None:
    async def test() -> None:
        async with running() as lanes:
            origin.hold("/held")
            host = HOSTS[0]
            other = next(other for other in HOSTS if lanes._lane(other) is not lanes._lane(host))
            (kept,) = await begin(lanes, origin, "/held", [other])
            (lost,) = await begin(lanes, origin, "/held", [host])
            victim = process_of(origin.requests[-1])
            assert victim is not None
            victim.kill()
            failure = await lost
            assert isinstance(failure, Failure)
            assert failure.code is FailureCode.WORKER_LOST
            assert isinstance(await collect(lanes, origin, host=host), Capture)
            origin.release("/held")
            assert isinstance(await kept, Capture)
            assert len(children()) == 2

    run(test())


@pytest.mark.parametrize("late", [False, True], ids=["seen before handing over", "seen in handing over"])
def test_a_lane_process_killed_while_idle_costs_no_collection(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    async def test() -> None:
        async with running(lanes=1) as lanes:
            victim = children()[0]
            victim.kill()
            process = lanes._lanes[0]._handle._process
            assert process is not None
            await until(lambda: bool(process._pool and process._pool._broken))
            await until(lambda: not process.alive)  # its exit code may have been read before the pipe is closed
            if late:  # as if the process had ended a moment later
                monkeypatch.setattr(LaneProcess, "alive", True)
            assert isinstance(await collect(lanes, origin), Capture)

    run(test())


def test_a_silent_lane_process_is_replaced(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, patience_s=0.5) as lanes:
            victim = children()[0]
            victim.suspend()
            failure = await collect(lanes, origin)
            assert isinstance(failure, Failure)
            assert failure.code is FailureCode.WORKER_LOST
            assert isinstance(await collect(lanes, origin), Capture)
            await until(lambda: not is_alive(victim))

    run(test())


def test_closing_ends_all_collections_and_every_lane_process(origin: Origin) -> None:
    async def test() -> None:
        async with running() as lanes:
            origin.hold("/held")
            tasks = await begin(lanes, origin, "/held", list(HOSTS))
            started = time.monotonic()
        assert time.monotonic() - started < 5
        outcomes = await asyncio.gather(*tasks)
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Failure)} == {FailureCode.INTERNAL_ERROR}
        lost = await collect(lanes, origin)
        assert isinstance(lost, Failure)
        assert not children()

    run(test())


def test_a_lane_process_that_cannot_start_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        lanes = Lanes(collector_options(max_body_bytes="many"), lane_settings())
        monkeypatch.setattr(entry, "start", os.abort)  # pickled by name: it fails in the lane process
        with pytest.raises(StartError):
            await lanes.start()
        await lanes.close()

    run(test())


def test_a_stopped_forkserver_is_waited_for_within_bounds() -> None:
    async def test() -> None:
        async with running(lanes=1):
            server = forkserver()
            process = LaneProcess(collector_options())
            server.suspend()
            try:
                with pytest.raises(LaneProcessLost):
                    await asyncio.wait_for(process.start(0.5), DEADLINE_S / 3)
                await asyncio.wait_for(process.end(), DEADLINE_S / 3)
            finally:
                server.resume()
                assert process._spawning is not None
                await process._spawning
            await until(lambda: len(children()) == 1, what="the end of the late process")
            assert process._pidfd == -1

    run(test())


def test_a_lane_with_a_stopped_forkserver_refuses_orders_and_goes_on_later(origin: Origin) -> None:
    async def test() -> None:
        async with running(lanes=1, patience_s=0.5, start_s=0.5) as lanes:
            server = forkserver()
            server.suspend()
            try:
                children()[0].kill()
                lost = await collect(lanes, origin)  # it was handed to the killed process
                with pytest.raises(CollectorUnavailable):
                    await asyncio.wait_for(collect(lanes, origin), 0.6 * DEADLINE_S)
            finally:
                server.resume()
            assert isinstance(lost, Failure)
            assert lost.code is FailureCode.WORKER_LOST
            await until(lambda: lanes.room(HOSTS[0]), what="the lane to be up again by itself")
            assert isinstance(await collect(lanes, origin), Capture)

    run(test())


# --- lane processes, seen from another program

PARENT = """
    import asyncio, json, os, sys
    import psutil
    from metadata_inventory.model.destinations import DestinationPolicy
    from metadata_inventory.model.capture import CollectionOrder
    from metadata_inventory.collect.pool.lanes import Lanes

    async def main(url):
        from tests.support.options import collector_options, lane_settings

        options = collector_options(destinations=DestinationPolicy.parse(["127.0.0.1"]))
        lanes = Lanes(options, lane_settings())
        await lanes.start()
        task = asyncio.create_task(lanes.collect(CollectionOrder(token="t", url=url), "127.0.0.1"))
        await asyncio.sleep(0)
        print(json.dumps([process.pid for process in psutil.Process().children(recursive=True)]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        outcome = await task
        await lanes.close()
        print(type(outcome).__name__, flush=True)

    if __name__ == "__main__":
        asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def parent(tmp_path: Path, origin: Origin) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Another program, with lanes and a collection under way, and all its descendants."""
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    origin.hold("/held")
    environment = os.environ | {"MONGO_URI": "mongodb://secret", "API_KEY": "secret", "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, str(script), origin.url("/held")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        descendants = [psutil.Process(pid) for pid in json.loads(process.stdout.readline())]
        origin.wait_for("/held", 1)
        try:
            yield process, descendants
        finally:
            process.kill()
            psutil.wait_procs(descendants, timeout=5)


Parent = tuple[subprocess.Popen[str], list[psutil.Process]]


def test_nothing_outlives_a_killed_parent(parent: Parent) -> None:
    process, descendants = parent
    assert len(descendants) >= 4  # resource tracker, forkserver, two lane processes
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(descendant) for descendant in descendants), GONE_S, what="the end of all")


def test_ctrl_c_of_the_terminal_does_not_end_lane_processes(parent: Parent, origin: Origin) -> None:
    process, descendants = parent
    for descendant in descendants:
        descendant.send_signal(signal.SIGINT)
    origin.release("/held")
    output, _ = process.communicate(timeout=DEADLINE_S)  # closes its input, so that it ends
    assert (output.strip(), process.returncode) == ("Capture", 0)


def test_lane_processes_see_no_secrets_of_the_environment(parent: Parent) -> None:
    process, descendants = parent
    assert "MONGO_URI" in psutil.Process(process.pid).environ()
    for descendant in descendants:
        environment = descendant.environ()
        assert "secret" not in "".join(environment.values())
        assert environment.get("PATH") == os.environ.get("PATH")


def report_modules() -> list[str]:
    return sorted(sys.modules)


def test_a_lane_process_has_no_server_no_database_and_no_settings() -> None:
    async def test() -> None:
        process = LaneProcess(collector_options())
        await process.start(DEADLINE_S)
        assert process._pool is not None
        modules = await asyncio.wrap_future(process._pool.submit(report_modules))
        await process.end()
        assert "metadata_inventory.collect.engine.entry" in modules
        unwanted = {"tornado", "pymongo", "bson", "metadata_inventory.service.settings", "metadata_inventory.storage"}
        assert unwanted.isdisjoint(modules)

    run(test())


def test_pages_of_every_size_cross_the_process_boundary(origin: Origin) -> None:
    noise = random.Random(1).randbytes(9_000_000)
    origin.page("/big", noise, headers=[("Content-Type", "application/octet-stream")])
    origin.page("/empty", "")

    async def test() -> None:
        async with running(lanes=1) as lanes:
            outcomes = await asyncio.gather(*(collect(lanes, origin, path) for path in ("/big", "/empty", "/", "/big")))
            lengths = [outcome.body.length for outcome in outcomes if isinstance(outcome, Capture)]
            assert lengths == [len(noise), 0, len(DEFAULT_PAGE), len(noise)]

    run(test())
