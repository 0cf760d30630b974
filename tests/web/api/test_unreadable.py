"""One document that cannot be read costs its own URL a 503, and nothing else: through the whole service."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from tornado.ioloop import IOLoop

from metadata_inventory.storage.migrations import JOB_VERSION, VERSIONS
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service
from tests.support.waiting import wait_until
from tests.web.client import Answer, Api

NEEDLE = "needle"
NEWER_JOB = {"version": JOB_VERSION + 1, "turn": 1, "due_ms": 1}
# Changes of a complete record.
BROKEN: dict[str, dict[str, Any]] = {
    "newer job": {"$set": {"job": NEWER_JOB}},
    "newer capture": {"$set": {"capture.version": VERSIONS["capture"] + 1}},
    "unknown status": {"$set": {"status": NEEDLE}},
    "missing field": {"$unset": {"revision": ""}},
    "wrong type": {"$set": {"requested_at": NEEDLE}},
}


@pytest.fixture(scope="module")
def database() -> str:
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def records(mongo_uri: str, database: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client[database]["records"]


@pytest.fixture(scope="module")
def service(mongo_uri: str, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database}
    directory = tmp_path_factory.mktemp("unreadable")
    with Service(directory, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        yield service


def collected(service: Service, origin: Origin) -> tuple[str, str]:
    """The URL and the id of a page that is collected now."""
    path = f"/{uuid.uuid4().hex}"
    origin.page(path, "hello")
    status, record = post(service, origin.url(path))
    assert status == 201
    return origin.url(path), record["id"]


def lines(service: Service, record_id: str) -> list[str]:
    return [line for line in service.log.splitlines() if f"record={record_id}" in line]


def is_refused(answer: Answer) -> bool:
    return (answer.status, answer.json["code"], answer.headers["Retry-After"]) == (503, "record_unreadable", "3600")


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_its_url_is_refused_and_left_as_it_is(
    io_loop: IOLoop,
    api: Api,
    service: Service,
    records: Collection[dict[str, Any]],
    shared_origin: Origin,
    change: dict[str, Any],
) -> None:
    url, record_id = collected(service, shared_origin)
    other, _ = collected(service, shared_origin)
    records.update_one({"_id": record_id}, change)
    before = records.find_one({"_id": record_id})

    for request in (
        lambda: api.get(url=url),
        lambda: api.post(url),
        lambda: api.post(url, max_age=60),
        lambda: api.post(url, headers={"Prefer": "respond-async"}),
        lambda: api.get(f"/api/metadata/{record_id}/"),
        lambda: api.get(f"/api/metadata/{record_id}/body/"),
    ):
        known = set(lines(service, record_id))
        assert is_refused(io_loop.run_sync(request))
        new = set(lines(service, record_id)) - known
        assert all(" ERROR " in line and "cannot be read: " in line for line in new)
        assert len(new) == 1
    assert records.find_one({"_id": record_id}) == before
    assert NEEDLE not in service.log

    assert io_loop.run_sync(lambda: api.get(url=other)).status == 200
    assert io_loop.run_sync(lambda: api.post(other)).status == 201
    records.delete_one({"_id": record_id})


def test_queue_requeue_and_backlog_go_on(
    io_loop: IOLoop, api: Api, service: Service, records: Collection[dict[str, Any]], shared_origin: Origin
) -> None:
    failed = [f"/{uuid.uuid4().hex}" for _ in range(3)]
    for path in failed:
        shared_origin.answer(path, b"not HTTP at all\r\n\r\n")
        assert post(service, shared_origin.url(path))[0] == 502
        shared_origin.page(path, "mended")
    ids = [get(service, shared_origin.url(path))[1]["id"] for path in failed]
    records.update_one({"_id": ids[0]}, {"$set": {"failure.failure.code": NEEDLE}})
    records.update_one({"_id": ids[1]}, {"$set": {"normalized_url": NEEDLE}})
    running, due = (collected(service, shared_origin)[1] for _ in range(2))
    hour_ms = int(time.time() * 1000) + 3_600_000
    records.update_one(
        {"_id": running}, {"$set": {"job": NEWER_JOB | {"due_ms": hour_ms, "lease": {"owner": "n", "token": "t"}}}}
    )
    broken_job = {"due_ms": 1, "attempts": NEEDLE}
    records.update_one({"_id": due}, {"$set": {"job": broken_job}})

    seen = io_loop.run_sync(lambda: api.get("/api/inventory/queue/"))
    assert seen.status == 200
    assert (seen.json["running"]["count"], seen.json["waiting"]["count"], seen.json["jobs"]) == (1, 1, [])
    assert seen.json["failed"][NEEDLE] == 1
    assert sum(seen.json["failed"].values()) == 3

    headers = {"Content-Type": "application/json"}
    body = json.dumps({"codes": []}).encode()
    answer = io_loop.run_sync(lambda: api.send("POST", "/api/inventory/queue/", headers=headers, body=body))
    assert (answer.status, answer.json["requeued"], answer.json["more"]) == (200, 1, False)
    # The backlog comes to it behind the job that is due and cannot be read.
    wait_until(lambda: get(service, shared_origin.url(failed[2]))[0] == 200, 20, what="the collection that was owed")
    assert records.find_one({"_id": due}, {"job": 1}) == {"_id": due, "job": broken_job}
