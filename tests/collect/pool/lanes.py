"""Shared by the tests of lanes: lanes with their real processes, and views of these processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psutil

from metadata_inventory.collect.pool.lanes import Lanes
from metadata_inventory.model.capture import CollectionOrder, Outcome
from tests.collect.conftest import HOSTS, LOOPBACK
from tests.support.options import collector_options, lane_settings
from tests.support.origin import Origin, Request

DEADLINE_S = 30.0

tokens = (f"token-{number}" for number in itertools.count())


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, DEADLINE_S))


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Lanes]:
    shape = lane_settings(**{name: value for name, value in settings.items() if name != "options"})
    options = {"host_concurrency": shape.host_concurrency} | settings.get("options", {})
    lanes = Lanes(collector_options(destinations=LOOPBACK, **options), shape)
    await lanes.start()
    try:
        yield lanes
    finally:
        await lanes.close()


async def collect(
    lanes: Lanes, origin: Origin, path: str = "/", host: str = HOSTS[0], *, alone: bool = False
) -> Outcome:
    return await lanes.collect(CollectionOrder(token=next(tokens), url=origin.url(path, host=host), alone=alone), host)


async def begin(
    lanes: Lanes, origin: Origin, path: str, hosts: Sequence[str], *, alone: bool = False
) -> list[asyncio.Task[Outcome]]:
    """Begin collections of a held path. Returns when all their requests have arrived."""
    seen = origin.count(path)
    tasks = [asyncio.create_task(collect(lanes, origin, path, host, alone=alone)) for host in hosts]
    await asyncio.to_thread(origin.wait_for, path, seen + len(hosts))
    return tasks


async def until(holds: Callable[[], object], *, what: str = "") -> None:
    """Wait by polling: for facts that only the operating system knows, such as the end of a process."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)


def children() -> list[psutil.Process]:
    """The lane processes of this process: those that its forkserver has forked."""
    return [
        process
        for server in psutil.Process().children()
        if is_alive(server) and "multiprocessing.forkserver" in " ".join(server.cmdline())
        for process in server.children()
        if is_alive(process)
    ]


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def forkserver() -> psutil.Process:
    (server,) = {process.parent() for process in children()}
    assert server is not None
    return server


def process_of(request: Request) -> psutil.Process | None:
    """The process that sent the request, as long as it and its connection exist."""
    for process in children():
        with contextlib.suppress(psutil.Error):
            ports = {connection.laddr.port for connection in process.net_connections("tcp")}
            if request.client_port in ports:
                return process
    return None
