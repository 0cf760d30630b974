"""Room, backlog and hand-over, on the program itself, with one lane that has room for one collection."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from metadata_inventory.model.policy import MAX_LOSSES
from metadata_inventory.model.urls import NormalizedUrl, normalize
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service, alive
from tests.support.waiting import wait_until

NARROW = {
    "INVENTORY_LANES": "1",
    "INVENTORY_LANE_CAPACITY": "1",
    "INVENTORY_QUEUE_LIMIT": "2",
    "INVENTORY_RENEW_S": "1",
    "INVENTORY_SHUTDOWN_GRACE_S": "3",
}


@pytest.fixture
def database() -> str:
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def records(mongo_uri: str, database: str) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        yield client[database]["records"]
        client.drop_database(database)


@pytest.fixture
def narrow(mongo_uri: str, database: str, tmp_path: Path) -> Iterator[Service]:
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, **NARROW}
    with Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        yield service


def test_without_room_a_job_waits_and_a_full_queue_refuses(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    paths = [f"/{uuid.uuid4().hex}" for _ in range(4)]
    running, *waiting, refused = [shared_origin.url(path) for path in paths]
    for path in paths:
        shared_origin.page(path, path)
    shared_origin.hold(paths[0])
    assert get(narrow, running)[0] == 202
    shared_origin.wait_for(paths[0], 1)
    for url in waiting:
        assert get(narrow, url)[0] == 202
    status, problem = get(narrow, refused)
    assert (status, problem["code"]) == (503, "queue_full")
    assert get(narrow, refused, collect=False)[0] == 404, "nothing is left behind"

    leases = {document["normalized_url"]: document["job"]["lease"] for document in records.find()}
    assert leases[running] is not None
    assert [leases[url] for url in waiting] == [None, None], "a job gets its lease only when there is room"
    assert [shared_origin.count(path) for path in paths] == [1, 0, 0, 0]

    shared_origin.release(paths[0])
    for url, path in zip([running, *waiting], paths, strict=False):
        status, record = get(narrow, url, wait_s=30)
        assert (status, record["page_source"]) == (200, path)
    assert [shared_origin.count(path) for path in paths] == [1, 1, 1, 0]


def test_ended_service_hands_its_running_jobs_back(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    path = f"/{uuid.uuid4().hex}"
    url = shared_origin.url(path)
    shared_origin.hold(path)
    assert get(narrow, url)[0] == 202
    shared_origin.wait_for(path, 1)
    assert narrow.end() == 0
    shared_origin.release(path)
    document = records.find_one({"_id": normalize(url).id})
    assert document is not None
    assert (document["status"], document["job"]["lease"], document["job"]["attempts"]) == ("pending", None, 0)


def test_job_is_handed_back_when_nothing_collects_it_any_more(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    """The collector is stopped: it does not hear that its work is broken off, and has to be killed."""
    path = f"/{uuid.uuid4().hex}"
    url = normalize(shared_origin.url(path))
    shared_origin.hold(path)
    assert get(narrow, url.href)[0] == 202
    shared_origin.wait_for(path, 1)
    (collector,) = narrow.lanes()
    collector.suspend()
    narrow.process.terminate()
    wait_until(lambda: records.find_one({"_id": url.id, "job.lease": None}), 20)
    assert not alive(collector)
    shared_origin.release(path)
    assert narrow.process.wait(30) == 0


def test_end_waits_for_what_ends_in_time_and_no_longer(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    """The request that waits is answered, and the end comes long before the grace is over."""
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path, "in time")
    shared_origin.hold(path)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(post, narrow, shared_origin.url(path))
        shared_origin.wait_for(path, 1)
        narrow.process.terminate()
        wait_until(lambda: "ending" in narrow.log, 10)
        shared_origin.release(path)
        status, record = waiting.result()
    assert (status, record["page_source"]) == (201, "in time")
    assert narrow.process.wait(30) == 0
    assert "is killed" not in narrow.log


def test_lost_lease_ends_the_attempt(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    """Another node takes the job over (here: by the hand of the test). The late holder lets go of its transfer."""
    path, other = f"/{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    url = shared_origin.url(path)
    shared_origin.hold(path)
    shared_origin.page(other, "other")
    assert get(narrow, url)[0] == 202
    shared_origin.wait_for(path, 1)
    taken = {"owner": "another", "token": "another"}
    records.update_one({"_id": normalize(url).id}, {"$set": {"job.lease": taken}})
    assert post(narrow, shared_origin.url(other))[0] == 201, "the only place in the lane is free again"
    shared_origin.release(path)
    document = records.find_one({"_id": normalize(url).id})
    assert document is not None
    assert document["job"]["lease"] == taken


def leave_behind(records: Collection[dict[str, Any]], url: NormalizedUrl, losses: int) -> None:
    """A job as a process that is gone leaves it."""
    records.insert_one(a_document(url, {"losses": losses, "lease": {"owner": "gone", "token": "gone"}}))


def leave_waiting(records: Collection[dict[str, Any]], urls: Sequence[NormalizedUrl]) -> None:
    """Jobs that nobody holds, each due before the next."""
    records.insert_many(
        [a_document(url, {"losses": 0, "lease": None, "due_ms": due_ms}) for due_ms, url in enumerate(urls, 1)]
    )


def a_document(url: NormalizedUrl, job: dict[str, Any]) -> dict[str, Any]:
    return {
        "_id": url.id,
        "normalized_url": url.href,
        "url": url.href,
        "status": "pending",
        "revision": 0,
        "requested_at": datetime.now(UTC),
        "unchanged_count": 0,
        "settled": "",
        "schema_version": 1,
        "job": {"host": url.host, "queued_ms": 1, "due_ms": 1, "attempts": 0, "kept": None, **job},
    }


def test_collection_that_nobody_holds_any_more_is_taken_up(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    path = f"/{uuid.uuid4().hex}"
    url = normalize(shared_origin.url(path))
    shared_origin.page(path, "taken up")
    leave_behind(records, url, losses=0)
    shared_origin.wait_for(path, 1)
    wait_until(lambda: get(narrow, url.href)[0] == 200, 20)


def test_job_that_is_lost_again_and_again_is_given_up(
    narrow: Service, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    path = f"/{uuid.uuid4().hex}"
    url = normalize(shared_origin.url(path))
    leave_behind(records, url, losses=MAX_LOSSES)

    def given_up() -> bool:
        status, problem = get(narrow, url.href)
        return status == 502 and problem["code"] == "worker_lost"

    wait_until(given_up, 20)
    assert shared_origin.count(path) == 0


def test_post_of_what_takes_too_long_answers_504(mongo_uri: str, database: str, tmp_path: Path) -> None:
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_COLLECT_TIMEOUT_S": "1"}
    with Origin() as origin, Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        origin.hold("/")
        status, problem = post(service, origin.url("/"))
        assert (status, problem["code"]) == (504, "http_response_timeout")


def test_body_that_was_cut_is_served_and_tried_again(
    mongo_uri: str, database: str, tmp_path: Path, shared_origin: Origin
) -> None:
    """The fullest capture is kept: of 9, 4 and 12 bytes the second changes nothing, and the third is whole."""
    path = f"/{uuid.uuid4().hex}"
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"
    url = shared_origin.url(path)
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_RETRY_BASE_S": "1.5"}
    with Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        shared_origin.answer(path, head + b"123456789")
        status, record = post(service, url)
        assert (status, record["page_source"], record["body"]["truncated"]) == (201, "123456789", "disconnect")
        shared_origin.answer(path, head + b"1234")
        wait_until(lambda: get(service, url)[1]["last_error"], 20)
        record = get(service, url)[1]
        assert (record["page_source"], record["last_error"]["code"]) == ("123456789", "http_response_incomplete")
        shared_origin.answer(path, head + b"123456789012")
        wait_until(lambda: get(service, url)[1]["page_source"] == "123456789012", 20)
        record = get(service, url)[1]
        assert (record["revision"], record["body"]["truncated"], record["last_error"]) == (2, None, None)
        assert shared_origin.count(path) == 3


def test_retry_after_is_waited_for_and_then_asked_again(
    mongo_uri: str, database: str, tmp_path: Path, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    path = f"/{uuid.uuid4().hex}"
    url = normalize(shared_origin.url(path))
    shared_origin.page(path, "later", 503, headers=[("Retry-After", "2")])
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_RETRY_BASE_S": "0.01"}
    with Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        status, record = post(service, url.href)
        assert (status, record["status_code"]) == (201, 503)
        document = records.find_one({"_id": url.id})
        assert document is not None
        asked_at = document["capture"]["fetched_at"].replace(tzinfo=UTC).timestamp()
        assert 2.0 <= document["job"]["due_ms"] / 1000 - asked_at < 4.0
        shared_origin.page(path, "now")
        wait_until(lambda: get(service, url.href)[1]["status_code"] == 200, 20)
        assert shared_origin.count(path) == 2


def test_retry_after_is_waited_for_also_when_more_was_had_before(
    mongo_uri: str, database: str, tmp_path: Path, shared_origin: Origin, records: Collection[dict[str, Any]]
) -> None:
    """A body that was cut is kept; then the server says when to come back, which its retry would not wait for."""
    path = f"/{uuid.uuid4().hex}"
    url = normalize(shared_origin.url(path))
    shared_origin.answer(path, b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n123456789")
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_RETRY_BASE_S": "1.5"}
    with Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        assert post(service, url.href)[0] == 201
        shared_origin.page(path, "later", 503, headers=[("Retry-After", "60")])
        document = wait_until(lambda: records.find_one({"_id": url.id, "failure.attempts": 2}), 20)
        assert document["capture"]["body"]["truncated"] == "disconnect"
        assert document["job"]["due_ms"] / 1000 - document["checked_at"].replace(tzinfo=UTC).timestamp() > 59


def test_one_host_leaves_the_queue_room_for_others(
    mongo_uri: str, database: str, tmp_path: Path, records: Collection[dict[str, Any]]
) -> None:
    environ = {
        "MONGO_URI": mongo_uri,
        "INVENTORY_DATABASE": database,
        "INVENTORY_HOST_CONCURRENCY": "1",
        "INVENTORY_QUEUE_LIMIT": "40",
        "INVENTORY_SHUTDOWN_GRACE_S": "0",
    }
    with (
        Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin,
        Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service,
    ):
        service.wait_for_answer()
        for number in range(60):
            origin.hold(f"/crowd/{number}")
            origin.hold(f"/other/{number}")
        statuses = [get(service, origin.url(f"/crowd/{number}", host="127.0.0.1"))[0] for number in range(60)]
        assert statuses[:20] == [202] * 20
        assert set(statuses[24:]) == {503}, "half of all places, and the one that runs"
        statuses = [get(service, origin.url(f"/other/{number}", host="127.0.0.2"))[0] for number in range(10)]
        assert statuses == [202] * 10
        for number in range(60):
            origin.release(f"/crowd/{number}")
            origin.release(f"/other/{number}")


def test_many_urls_of_one_host_hold_up_no_other_host(
    mongo_uri: str, database: str, tmp_path: Path, records: Collection[dict[str, Any]]
) -> None:
    """They wait in the database from before, so that the other host's jobs stand behind all of them."""
    environ = {
        "MONGO_URI": mongo_uri,
        "INVENTORY_DATABASE": database,
        "INVENTORY_HOST_CONCURRENCY": "3",
        "INVENTORY_SHUTDOWN_GRACE_S": "0",
    }
    with Origin(addresses=("127.0.0.1", "127.0.0.2")) as origin:
        crowd = [normalize(origin.url(f"/crowd/{number}", host="127.0.0.1")) for number in range(250)]
        others = [normalize(origin.url(f"/other/{number}", host="127.0.0.2")) for number in range(6)]
        for url in crowd:
            origin.hold(url.href.removeprefix(f"http://127.0.0.1:{origin.port}"))
        leave_waiting(records, [*crowd, *others])
        with Service(tmp_path, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
            origin.wait_until(lambda: sum(one.path.startswith("/other/") for one in origin.requests) == len(others))
            for url in others:
                assert get(service, url.href, wait_s=30)[0] == 200
            seen = [request.path for request in origin.requests]
            assert sum(path.startswith("/crowd/") for path in seen) == 3, "no more of one host at once"
            late = origin.url("/late", host="127.0.0.1")
            assert get(service, late)[0] == 202
            for url in crowd[:3]:
                origin.release(url.href.removeprefix(f"http://127.0.0.1:{origin.port}"))
            wait_until(lambda: sum(one.path.startswith("/crowd/") for one in origin.requests) == 6, 30)
            assert origin.count("/late") == 0, "who comes later does not skip_queue"
