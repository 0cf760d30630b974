"""What tests share: the database server, a real origin, and the program running as its users run it."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator

import pytest

from metadata_inventory.storage.embedded.database import EmbeddedDatabase
from tests.support.origin import Origin
from tests.support.running import Service, with_database

# pytest-tornado 0.8.1 asks for the current loop before it makes one of its own. Where none was ever set, asyncio makes
# one for that, which nobody closes.
asyncio.set_event_loop(None)

# Before anything imports it: there a case's facts are held against the outcome.
pytest.register_assert_rewrite("tests.odd.case")


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A MongoDB: the one that TEST_MONGO_URI names, else the embedded one, started for this run."""
    if uri := os.environ.get("TEST_MONGO_URI"):
        yield uri
        return
    database = EmbeddedDatabase(tmp_path_factory.mktemp("database"), enable_test_commands=True)
    database.start()
    yield database.uri
    database.stop()


@pytest.fixture
def database_name() -> str:
    """A database of the test's own."""
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def shared_origin() -> Iterator[Origin]:
    """An origin for tests that take a path of their own each, on an address that the service reaches."""
    with Origin(addresses=[os.environ.get("TEST_ORIGIN_ADDRESS", "127.0.0.1")]) as origin:
        yield origin


class ForeignService:
    """A service that runs elsewhere, such as in containers."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="session")
def deployed_service(request: pytest.FixtureRequest) -> Service | ForeignService:
    """The service that TEST_SERVICE_URL names, else the program as `service` starts it."""
    if url := os.environ.get("TEST_SERVICE_URL"):
        return ForeignService(url)
    service: Service = request.getfixturevalue("service")
    return service


@pytest.fixture(scope="session")
def service(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The program in processes of its own, allowed to dial loopback, quick to retry and long to remember failures."""
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
