"""Fixtures that all tests share: a database server, a real origin, and the service in processes of its own. Marks and
orders the tests."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from tests.support import running
from tests.support.origin import Origin
from tests.support.running import Service, with_database

# pytest-tornado 0.8.1 asks for the current loop before it makes one of its own. Where none was ever set, asyncio makes
# one for that, which nobody closes.
asyncio.set_event_loop(None)

# A background job or nohup starts this process with these ignored, and what it starts would ignore them as well. A
# handler is not inherited: the program that a test starts then has them as from a shell.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# Before anything imports it: there a case's facts are held against the outcome.
pytest.register_assert_rewrite("tests.odd.case")

# The files that take longest start first, in this order: a run would else end with one process of tests that is busy.
LONG = (
    "tests/service/test_supervisor.py",
    "tests/chaos/",
    "tests/storage/embedded/",
    "tests/service/",
    "tests/jobs/",
    "tests/odd/",
    "tests/collect/pool/",
    "tests/storage/",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that start the service: those that name its class `Service`, or use a fixture that does.

    A test that starts it in another way carries the marker in its source; `Service` refuses it otherwise.
    """
    for item in items:
        if isinstance(item, pytest.Function) and any(map(names_service, functions_of(item))):
            item.add_marker(pytest.mark.service)
    if hasattr(config, "workerinput"):  # one of several processes of tests; else the order is the caller's
        items.sort(
            key=lambda item: next((at for at, path in enumerate(LONG) if item.nodeid.startswith(path)), len(LONG))
        )


def functions_of(item: pytest.Function) -> Iterable[Callable[..., Any]]:
    """The test's function, and those of all fixtures that it asks for, directly or through other fixtures."""
    yield item.function
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield definitions[-1].func


def names_service(function: Callable[..., Any]) -> bool:
    """Whether the function's code names the class that starts the program."""
    function = inspect.unwrap(function)
    code, names = getattr(function, "__code__", None), getattr(function, "__globals__", {})
    return code is not None and any(names.get(name) is Service for name in code.co_names)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let `Service` start the program for marked tests only."""
    running.unmarked_test = "" if item.get_closest_marker("service") else item.nodeid
    try:
        return (yield)
    finally:
        running.unmarked_test = ""


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a MongoDB server: TEST_MONGO_URI, or else an embedded database that is started for this run."""
    if uri := os.environ.get("TEST_MONGO_URI"):
        yield uri
        return
    database = EmbeddedDatabase(tmp_path_factory.mktemp("database"), enable_test_commands=True)
    database.start()
    yield database.uri
    database.stop()


@pytest.fixture
def database_name() -> str:
    """The name of a database that no other test uses."""
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def shared_origin() -> Iterator[Origin]:
    """One origin for many tests, on an address that the service reaches; each test uses paths of its own."""
    with Origin(addresses=[os.environ.get("TEST_ORIGIN_ADDRESS", "127.0.0.1")]) as origin:
        yield origin


class ForeignService:
    """A service that runs elsewhere, such as in containers."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="session")
def deployed_service(request: pytest.FixtureRequest) -> Service | ForeignService:
    """The service at TEST_SERVICE_URL, or else the one that the fixture `service` starts."""
    if url := os.environ.get("TEST_SERVICE_URL"):
        return ForeignService(url)
    service: Service = request.getfixturevalue("service")
    return service


@pytest.fixture(scope="session")
def service(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The running program. It may connect to loopback, retries after 0.05 s, and stored failures answer for an hour."""
    environ = with_database(
        mongo_uri,
        INVENTORY_RETRY_BASE_S="0.05",
        INVENTORY_FAILURE_TTL_S="3600",
        INVENTORY_CONNECT_TIMEOUT_S="5",
    )
    directory = tmp_path_factory.mktemp("service")
    with Service(directory, "--allow-destination", "127.0.0.0/8", environ=environ) as running:
        running.wait_for_answer()
        yield running
