"""The running program while its database is away, stopped, full, slow or read-only; and afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest
from pymongo import MongoClient
from tornado.ioloop import IOLoop

from metadata_inventory.model.record import Lease
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from metadata_inventory.storage.mongo import MongoStore
from tests.support.builders import a_claim
from tests.support.client import get, post
from tests.support.mounts import with_mount
from tests.support.origin import Origin
from tests.support.running import Service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(90)

# With INVENTORY_STORAGE_TIMEOUT_S=1: an answer takes a look-up and a claim at most, here on a busy machine.
BOUND_S = 5.0
LEASE_S = 1.5
MB = 1_000_000
# To start the database again, for the workers to find it, and for the waiting jobs.
BACK_S = 30.0


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedDatabase]:
    """A database that tests kill, stop and make fail; each test leaves it running."""
    database = EmbeddedDatabase(tmp_path_factory.mktemp("faults"), enable_test_commands=True)
    database.start()
    yield database
    database.stop()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


def settings(database: EmbeddedDatabase, **more: str) -> dict[str, str]:
    return {
        "MONGO_URI": database.uri,
        "INVENTORY_DATABASE": f"test_{uuid.uuid4().hex[:12]}",
        "INVENTORY_STORAGE_TIMEOUT_S": "1",
        "INVENTORY_ALLOW_DESTINATIONS": "127.0.0.0/8",
        **more,
    }


@pytest.fixture(scope="module")
def environ(database: EmbeddedDatabase) -> dict[str, str]:
    """There is room for two collections at once: further jobs wait in the database."""
    return settings(database, INVENTORY_LANES="1", INVENTORY_LANE_CAPACITY="2")


@pytest.fixture(scope="module")
def service(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), environ=environ) as service:
        service.wait_for_answer()
        yield service


@pytest.fixture(scope="module")
def hasty_service(database: EmbeddedDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Of two workers, the first that sees a lease of the other run out takes over its job."""
    environ = settings(database, INVENTORY_LEASE_S=str(LEASE_S), INVENTORY_RENEW_S="0.5", INVENTORY_LANES="1")
    with Service(tmp_path_factory.mktemp("hasty"), "--processes", "2", environ=environ) as service:
        service.wait_for_answer()
        yield service


@dataclass
class Answered:
    """An answer of the service, and how long it took."""

    status: int
    code: str | None
    retry_after: str | None
    took_s: float

    @property
    def unavailable(self) -> bool:
        return (self.status, self.code) == (503, "storage_unavailable") and int(self.retry_after or 0) > 0


def ask(service: Service, path: str, body: dict[str, str] | None = None) -> Answered:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(service.url + path, data, {"Content-Type": "application/json"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=45) as response:
            return Answered(response.status, None, None, time.monotonic() - began)
    except HTTPError as error:
        retry_after = error.headers["Retry-After"]
        return Answered(error.code, json.load(error)["code"], retry_after, time.monotonic() - began)


def assert_unavailable_but_alive(service: Service, url: str) -> None:
    """Reads, writes and readiness answer 503 within the time limit, liveness answers 200 at once."""
    with ThreadPoolExecutor() as threads:
        asked = [
            threads.submit(ask, service, "/readyz"),
            threads.submit(ask, service, f"/api/metadata/?url={quote(url, safe='')}"),
            threads.submit(ask, service, "/api/metadata/", {"url": url}),
        ]
        alive = ask(service, "/livez")
        assert alive.status == 200
        assert alive.took_s < 1
        for answered in (answer.result() for answer in asked):
            assert answered.unavailable, answered
            assert answered.took_s < BOUND_S


def complete(service: Service, url: str) -> Any:
    """Waits for the record with requests that start no collection."""

    def stored() -> Any:
        status, body = get(service, url, collect=False)
        return body if status == 200 else None

    return wait_until(stored, BACK_S, what=f"the record of {url}")


def is_ready(service: Service) -> bool:
    return ask(service, "/readyz").status == 200


def kill(database: EmbeddedDatabase) -> None:
    assert database.process is not None
    database.process.kill()
    database.process.wait()


@contextlib.contextmanager
def failing(database: EmbeddedDatabase, *, mode: Any = "alwaysOn", **data: Any) -> Iterator[None]:
    with MongoClient[dict[str, Any]](database.uri) as admin:
        admin.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
        try:
            yield
        finally:
            admin.admin.command("configureFailPoint", "failCommand", mode="off")


def test_database_that_is_away_at_the_start_is_waited_for(
    database: EmbeddedDatabase, origin: Origin, tmp_path: Path
) -> None:
    kill(database)
    try:
        with Service(tmp_path, environ=settings(database)) as service:
            service.wait_for_answer()
            assert_unavailable_but_alive(service, origin.url("/"))
            database.spawn()
            wait_until(lambda: is_ready(service), BACK_S, what="readiness")
            status, record = post(service, origin.url("/"))
            assert status == 201
            assert record["revision"] == 1
    finally:
        if database.process is None or database.process.poll() is not None:
            database.spawn()


def test_what_was_acknowledged_before_the_database_was_killed_is_collected_once(
    database: EmbeddedDatabase, service: Service, origin: Origin
) -> None:
    paths = [f"/{number}" for number in range(10)]
    for path in paths:
        origin.page(path)
        origin.hold(path)
    assert {get(service, origin.url(path))[0] for path in paths} == {202}
    origin.wait_until(lambda: len(origin.requests) == 2)
    kill(database)
    for path in paths:
        origin.release(path)
    assert_unavailable_but_alive(service, origin.url("/"))
    database.spawn()
    assert {complete(service, origin.url(path))["revision"] for path in paths} == {1}
    assert [origin.count(path) for path in paths] == [1] * len(paths)


def test_database_that_is_stopped_for_longer_than_a_lease_takes_no_outcome_twice(
    database: EmbeddedDatabase, hasty_service: Service, origin: Origin
) -> None:
    paths = [f"/{number}" for number in range(6)]
    for path in paths:
        origin.page(path)
        origin.hold(path)
    assert {get(hasty_service, origin.url(path))[0] for path in paths} == {202}
    origin.wait_until(lambda: len(origin.requests) >= len(paths))
    assert database.process is not None
    database.process.send_signal(signal.SIGSTOP)
    try:
        stopped_at = time.monotonic()
        for path in paths:
            origin.release(path)
        while time.monotonic() - stopped_at < LEASE_S + 1:
            assert_unavailable_but_alive(hasty_service, origin.url("/"))
    finally:
        database.process.send_signal(signal.SIGCONT)
    assert {complete(hasty_service, origin.url(path))["revision"] for path in paths} == {1}
    wait_until(lambda: is_ready(hasty_service), BACK_S, what="readiness")


def test_what_a_stopped_database_does_not_take_is_bounded(
    database: EmbeddedDatabase, origin: Origin, tmp_path: Path
) -> None:
    """Pages of 8 MB that do not compress, 192 MB in all. Without a limit the worker holds all after two seconds."""
    environ = settings(database, INVENTORY_LANE_BODY_BYTES=str(16 * MB), INVENTORY_HOST_CONCURRENCY="40")
    with Service(tmp_path, environ=environ) as service:
        service.wait_for_answer()
        paths = [f"/large/{number}" for number in range(24)]
        page = os.urandom(8 * MB)
        for path in paths:
            origin.page(path, page)
            origin.hold(path)
        assert {get(service, origin.url(path))[0] for path in paths} == {202}
        origin.wait_until(lambda: sum(request.path in paths for request in origin.requests) == len(paths))
        worker = service.child("metadata_inventory.service.worker")
        before = worker.memory_info().rss
        assert database.process is not None
        database.process.send_signal(signal.SIGSTOP)
        try:
            for path in paths:
                origin.release(path)
            for _ in range(3):
                assert_unavailable_but_alive(service, origin.url("/"))
            assert worker.memory_info().rss - before < 140 * MB, worker.memory_info().rss - before
        finally:
            database.process.send_signal(signal.SIGCONT)
        for path in paths:
            complete(service, origin.url(path))


def test_writes_that_fail_while_reads_work_are_not_tried_without_end(
    database: EmbeddedDatabase, environ: dict[str, str], service: Service, origin: Origin, io_loop: IOLoop
) -> None:
    urls = [normalize(origin.url(f"/{number}")) for number in range(20)]
    for number in range(20):
        origin.page(f"/{number}")
    assert post(service, origin.url("/"))[0] == 201
    io_loop.run_sync(lambda: leave_behind(environ, urls))
    with failing(database, failCommands=["update"], errorCode=13):  # Unauthorized: a user with read access only
        assert get(service, origin.url("/"))[0] == 200
        assert ask(service, "/api/metadata/", {"url": origin.url("/")}).unavailable
        assert ask(service, "/readyz").unavailable
        wait_until(lambda: failed_writes(service) >= 3, 10, what="jobs that are due being tried")
        before, began = failed_writes(service), time.monotonic()
        wait_until(lambda: failed_writes(service) >= before + 3, 10, what="jobs being tried again")
        assert (failed_writes(service) - before) / (time.monotonic() - began) < 5
    assert {complete(service, url.href)["revision"] for url in urls} == {1}


def failed_writes(service: Service) -> int:
    return service.log.count("the database failed: OperationFailure 13")


async def leave_behind(environ: dict[str, str], urls: list[Any]) -> None:
    """Jobs of a worker that has ended; their leases run out in a moment."""
    store = MongoStore(environ["MONGO_URI"], environ["INVENTORY_DATABASE"], timeout_s=5, lease_ms=500)
    store.start()
    for url in urls:
        await store.claim(a_claim(url, Lease(url, "gone", uuid.uuid4().hex)))
    await store.close()


def test_claim_that_was_given_up_and_lands_later_is_collected(
    database: EmbeddedDatabase, hasty_service: Service, origin: Origin
) -> None:
    assert is_ready(hasty_service)
    with failing(database, mode={"times": 1}, failCommands=["update"], blockConnection=True, blockTimeMS=2_000):
        answered = ask(hasty_service, f"/api/metadata/?url={quote(origin.url('/'), safe='')}")
        assert answered.unavailable
        assert answered.took_s < BOUND_S
        assert complete(hasty_service, origin.url("/"))["revision"] == 1
    assert origin.count("/") == 1


def test_outcome_whose_storing_was_not_answered_in_time_is_accepted_once(
    database: EmbeddedDatabase, service: Service, origin: Origin
) -> None:
    """A client that waits for it is answered within the time limit; the outcome is stored all the same."""
    assert is_ready(service)
    origin.hold("/")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(ask, service, "/api/metadata/", {"url": origin.url("/")})
        origin.wait_for("/", 1)
        with failing(database, mode={"times": 1}, failCommands=["update"], blockConnection=True, blockTimeMS=2_000):
            released_at = time.monotonic()
            origin.release("/")
            assert waiting.result().unavailable
            assert time.monotonic() - released_at < BOUND_S
            assert complete(service, origin.url("/"))["revision"] == 1
    assert origin.count("/") == 1


def test_full_disk_loses_nothing_and_is_recovered_from(origin: Origin, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    command = with_mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", "data")
    environ = {
        "INVENTORY_STORAGE_TIMEOUT_S": "1",
        "INVENTORY_ALLOW_DESTINATIONS": "127.0.0.0/8",
        "INVENTORY_SHUTDOWN_GRACE_S": "1",
    }
    # The database reserves a varying amount of room for its log. No disk of 64 MiB holds all of these pages.
    page = os.urandom(400_000).hex()
    paths = [f"/{number}" for number in range(200)]
    for path in paths[:5]:
        origin.page(path, page + path)
    with Service(tmp_path, environ=environ, command=command) as service:
        service.wait_for_answer()
        filler = Path(f"/proc/{service.process.pid}/root{data}/filler")
        acknowledged = [path for path in paths[:5] if post(service, origin.url(path))[0] == 201]
        assert len(acknowledged) == 5
        with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        for path in paths[5:]:
            origin.page(path, page + path)
            answered = ask(service, "/api/metadata/", {"url": origin.url(path)})
            assert answered.took_s < 3 * BOUND_S
            if answered.status != 201:
                break
            acknowledged.append(path)
        assert answered.unavailable, answered
        assert ask(service, "/readyz").unavailable
        assert ask(service, "/livez").status == 200
        filler.unlink()
        wait_until(lambda: is_ready(service), BACK_S, what="readiness")
        assert {get(service, origin.url(path), collect=False)[0] for path in acknowledged} == {200}
        assert post(service, origin.url("/"))[0] == 201
