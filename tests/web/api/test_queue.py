"""The queue, through the API and on the command line, on a service of its own that runs one collection at a time."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from msgspec.structs import replace
from pymongo import MongoClient

from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.urls import normalize
from metadata_inventory.storage.documents import failure_fields
from tests.support.builders import a_failure, a_policy
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service, environment
from tests.support.waiting import wait_until
from tests.web.client import Api

INSTANT = "failed_before must be null or an instant with its time zone, such as 2026-01-31T09:30:00Z"
YEARS = "failed_before must lie in the years 1 to 9999 of UTC"

NARROW = {
    "INVENTORY_LANES": "1",
    "INVENTORY_LANE_CAPACITY": "1",
    "INVENTORY_RETRY_BASE_S": "600",
    "INVENTORY_RETRY_MAX_S": "600",
}


@pytest.fixture(scope="module")
def narrow(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": f"test_{uuid.uuid4().hex[:12]}", **NARROW}
    directory = tmp_path_factory.mktemp("narrow")
    with Service(directory, "--allow-destination", "127.0.0.0/8", environ=environ) as service:
        service.wait_for_answer()
        yield service


def run(service: Service, *arguments: str, timeout_s: float = 30) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "metadata_inventory", *arguments, "--service", service.url]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False)
    return done.returncode, done.stdout, done.stderr


def queue(service: Service) -> Any:
    status, output, _ = run(service, "queue", "--json")
    assert status == 0
    return json.loads(output)


@pytest.mark.gen_test
async def test_queue_is_answered_as_documented(api: Api) -> None:
    for form in ("/api/inventory/queue/", "/api/inventory/queue"):
        answer = await api.get(form)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
    body = json.dumps({"codes": ["too_many_redirects"]}).encode()
    headers = {"Content-Type": "application/json"}
    answer = await api.send("POST", "/api/inventory/queue/", headers=headers, body=body)
    assert answer.status == 200
    begun_at = datetime.fromisoformat(answer.json["failed_before"])
    assert abs((datetime.now(UTC) - begun_at).total_seconds()) < 60
    body = b'{"failed_before": "1999-12-31T23:00:00-01:00"}'
    answer = await api.send("POST", "/api/inventory/queue/", headers=headers, body=body)
    assert (answer.status, answer.json["failed_before"]) == (200, "2000-01-01T00:00:00Z")


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"codes": ["no_such_code"]}', "Each item of codes must be one of dns_error, dns_timeout, "),
        (b'{"codes": "dns_error"}', 'codes must be a list, not "dns_error".'),
        (b'{"kinds": []}', 'There is no member "kinds"; there are codes and failed_before.'),
        (b'{"failed_before": "yesterday"}', f'{INSTANT}, not "yesterday".'),
        (b'{"failed_before": "2026-01-02T03:04:05"}', f'{INSTANT}, not "2026-01-02T03:04:05".'),
        (b'{"failed_before": "0001-01-01T00:00:00+23:59"}', f"{YEARS}, not 0001-01-01T00:00:00+23:59."),
        (b'{"failed_before": "9999-12-31T23:59:59-23:59"}', f"{YEARS}, not 9999-12-31T23:59:59-23:59."),
    ],
)
async def test_bad_requeue_is_400_and_says_what_is_wrong(api: Api, body: bytes, detail: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await api.send("POST", "/api/inventory/queue/", headers=headers, body=body)
    assert (answer.status, answer.json["code"]) == (400, "invalid_parameter")
    assert answer.json["detail"].startswith(detail)


def test_operator_sees_all_collections_and_requeues_a_failed_one(narrow: Service, shared_origin: Origin) -> None:
    held, waiting, broken = (f"/{uuid.uuid4().hex}" for _ in range(3))
    shared_origin.answer(broken, b"not HTTP at all\r\n\r\n")
    assert post(narrow, shared_origin.url(broken))[0] == 502
    shared_origin.hold(held)
    assert get(narrow, shared_origin.url(held))[0] == 202
    shared_origin.wait_for(held, 1)
    assert get(narrow, shared_origin.url(waiting))[0] == 202

    seen = queue(narrow)
    assert (seen["running"]["count"], seen["waiting"]["count"], seen["abandoned"]["count"]) == (1, 1, 0)
    (job,) = seen["jobs"]
    assert job["normalized_url"] == shared_origin.url(held)
    assert str(narrow.child("metadata_inventory.service.worker").pid) in job["owner"]
    assert seen["waiting"]["oldest_age_s"] < 60
    (code,) = seen["failed"]
    status, table, _ = run(narrow, "queue")
    assert status == 0
    assert f"{code} 1" in table
    assert shared_origin.url(held) in table

    assert run(narrow, "requeue", "--code", "dns_error") == (0, "0 put back\n", "")
    assert run(narrow, "requeue", "--code", code) == (0, "1 put back\n", "")
    shared_origin.page(broken, "mended")
    shared_origin.release(held)
    wait_until(lambda: get(narrow, shared_origin.url(broken))[0] == 200, 20)
    wait_until(lambda: queue(narrow)["running"]["count"] == 0, 20)


def test_waiting_retry_is_shown_with_its_code(narrow: Service, shared_origin: Origin) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.answer(path, reset=True)
    assert post(narrow, shared_origin.url(path))[0] == 502
    retrying = queue(narrow)["retrying"]
    assert (retrying["count"], retrying["codes"]) == (1, {"connection_terminated": 1})
    with urlopen(f"{narrow.url}/api/metadata/?{urlencode({'url': shared_origin.url(path)})}") as answer:
        assert answer.status == 202
        assert 60 < int(answer.headers["Retry-After"]) <= 600, "the time until the next attempt"


def test_command_says_what_the_service_refuses_and_that_it_does_not_answer(narrow: Service, tmp_path: Path) -> None:
    status, _, complaint = run(narrow, "requeue", "--code", "no_such_code")
    assert status == 1
    assert "[invalid_parameter]" in complaint
    command = [sys.executable, "-m", "metadata_inventory", "queue", "--service", "http://127.0.0.1:9"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: http://127.0.0.1:9 does not answer")


def store_failures(mongo_uri: str, database: str, count: int) -> None:
    """Store failed entries of so many URLs, each of which is refused again at once."""
    failure = replace(a_failure(FailureCode.DESTINATION_IP_PROHIBITED), at=datetime.now(UTC))
    stored = failure_fields(a_policy().stored_failure(failure, 1, None))
    urls = [normalize(f"http://127.0.0.{2 + number % 100}/{number}") for number in range(count)]
    documents = [
        {
            "_id": url.id,
            "normalized_url": url.href,
            "url": url.href,
            "status": "failed",
            "revision": 0,
            "requested_at": failure.at,
            "checked_at": failure.at,
            "unchanged_count": 0,
            "settled": "x",
            "failure": stored,
        }
        for url in urls
    ]
    with MongoClient[dict[str, Any]](mongo_uri) as client:
        client[database]["records"].insert_many(documents)


@pytest.mark.timeout(240)
def test_more_failures_than_one_call_requeues_are_all_requeued(mongo_uri: str, tmp_path: Path) -> None:
    database = f"test_{uuid.uuid4().hex[:12]}"
    # The gap lets one collection of each host run, and all other jobs wait.
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_HOST_GAP_S": "3000"}
    with Service(tmp_path, environ=environ) as service:
        service.wait_for_answer()
        store_failures(mongo_uri, database, 410)
        assert run(service, "requeue", timeout_s=180) == (0, "410 put back\n", "")


@pytest.mark.timeout(240)
def test_entry_that_fails_again_at_once_is_requeued_once(mongo_uri: str, tmp_path: Path) -> None:
    database = f"test_{uuid.uuid4().hex[:12]}"
    with Service(tmp_path, environ={"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database}) as service:
        service.wait_for_answer()
        store_failures(mongo_uri, database, 210)
        assert run(service, "requeue", timeout_s=180) == (0, "210 put back\n", "")
