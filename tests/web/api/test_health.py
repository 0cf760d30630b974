"""`/livez` and `/readyz`."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from metadata_inventory.web.api.health import BELIEVED_S
from tests.support.running import Service
from tests.support.waiting import wait_until
from tests.web.client import Api


@pytest.mark.gen_test
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_healthy_service_says_ok(api: Api, path: str) -> None:
    for form in (path, path + "/"):
        answer = await api.get(form)
        assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert (await api.send("HEAD", path)).status == 200


def test_readiness_follows_the_database(tmp_path: Path) -> None:
    """While the database is stopped (SIGSTOP) the service is alive but not ready; afterwards it is ready again."""
    with Service(tmp_path, environ={"INVENTORY_STORAGE_TIMEOUT_S": "1"}) as service:
        wait_until(lambda: service.answers("/readyz"), 30)
        database = service.child("secantus")
        database.suspend()
        try:
            wait_until(lambda: not service.answers("/readyz"), 10, what="a failed check")
            assert service.answers("/livez")
        finally:
            database.resume()
        wait_until(lambda: service.answers("/readyz"), 30)


def test_requests_for_readiness_within_a_second_share_one_check(
    mongo_uri: str, database_name: str, tmp_path: Path
) -> None:
    """Readiness needs no API key: many requests for it must not become as many requests to the database."""
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database_name}
    with MongoClient[dict[str, Any]](mongo_uri) as client, Service(tmp_path, environ=environ) as service:
        service.wait_for_answer()
        database = client[database_name]
        database.command("profile", 2)
        try:

            def checks() -> int:
                return database["system.profile"].count_documents({"op": "update", "ns": f"{database_name}.health"})

            began = time.monotonic()
            with ThreadPoolExecutor(50) as threads:
                assert all(threads.map(service.answers, ["/readyz"] * 200))
            took_s = time.monotonic() - began
            assert 1 <= checks() <= 1 + took_s // BELIEVED_S
            before = checks()
            wait_until(lambda: service.answers("/readyz") and checks() > before, 10, what="another check")
        finally:
            database.command("profile", 0)
