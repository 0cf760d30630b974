"""Each limit on what an origin can make the service read, set in the running program."""

from __future__ import annotations

import gzip
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from metadata_inventory.service.settings import LEAST_LANE_MEMORY_BYTES, Settings
from tests.support.client import post
from tests.support.origin import Origin
from tests.support.running import Service, with_database

BOUNDS = {
    "INVENTORY_MAX_BODY_BYTES": "1000",
    "INVENTORY_MAX_WIRE_BYTES": "2000",
    "INVENTORY_MAX_HEADER_BYTES": "2048",
    "INVENTORY_MAX_HEADER_LINES": "20",
    "INVENTORY_MAX_REDIRECTS": "1",
    "INVENTORY_COLLECT_TIMEOUT_S": "2",
    "INVENTORY_MAX_ATTEMPTS": "1",
}
OK = b"HTTP/1.1 200 OK\r\n"
# How long a transfer takes that is not ended for its speed. Everything else in a collection takes a few seconds.
SLOWEST_S = 25


@pytest.fixture(scope="module")
def bounded(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environ = with_database(mongo_uri, **BOUNDS)
    with Service(tmp_path_factory.mktemp("bounded"), "--allow-loopback", environ=environ) as service:
        service.wait_for_answer()
        yield service


@pytest.fixture(scope="module")
def impatient(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environ = with_database(
        mongo_uri,
        INVENTORY_LOW_SPEED_BYTES_PER_S="1000",
        INVENTORY_LOW_SPEED_S="1",
        INVENTORY_COLLECT_TIMEOUT_S=str(SLOWEST_S),
        INVENTORY_MAX_ATTEMPTS="1",
    )
    with Service(tmp_path_factory.mktemp("impatient"), "--allow-loopback", environ=environ) as service:
        service.wait_for_answer()
        yield service


def page_of(size: int) -> Callable[[Origin, str], None]:
    return lambda origin, path: origin.page(path, b"x" * size)


def zipped(body: bytes) -> Callable[[Origin, str], None]:
    return lambda origin, path: origin.page(path, gzip.compress(body, 0), headers=[("Content-Encoding", "gzip")])


def header_of(size: int) -> Callable[[Origin, str], None]:
    return lambda origin, path: origin.page(path, b"", headers=[("X-Long", "x" * size)])


def headers(count: int) -> Callable[[Origin, str], None]:
    return lambda origin, path: origin.page(path, b"", headers=[("X", "y")] * count)


def hops(count: int) -> Callable[[Origin, str], None]:
    def script(origin: Origin, path: str) -> None:
        for number in range(count):
            origin.redirect(path if number == 0 else f"{path}/{number}", f"{path}/{number + 1}")
        origin.page(f"{path}/{count}")

    return script


def stalled(origin: Origin, path: str) -> None:
    origin.answer(path, OK, stall=True)


@pytest.mark.parametrize(
    ("script", "status", "expected"),
    [
        (page_of(1000), 201, {"length": 1000, "truncated": None}),
        (page_of(1001), 201, {"length": 1000, "truncated": "length"}),
        (zipped(b"x" * 1001), 201, {"length": 1000, "truncated": "length"}),
        (zipped(os.urandom(3000)), 201, {"truncated": "length"}),
        (header_of(1800), 201, {}),
        (header_of(2048), 502, "http_protocol_error"),
        (headers(10), 201, {}),
        (headers(20), 502, "http_protocol_error"),
        (hops(1), 201, {}),
        (hops(2), 502, "too_many_redirects"),
        (stalled, 504, "http_response_timeout"),
    ],
    ids=[
        "body at the bound",
        "body over it",
        "decoded body over it",
        "coded body over both",
        "headers within theirs",
        "headers over it",
        "lines within theirs",
        "lines over it",
        "redirects within theirs",
        "redirects over it",
        "time",
    ],
)
def test_bound_holds_and_what_is_within_it_passes(
    bounded: Service, shared_origin: Origin, script: Callable[[Origin, str], None], status: int, expected: Any
) -> None:
    path = f"/{uuid.uuid4().hex}"
    script(shared_origin, path)
    answered, answer = post(bounded, shared_origin.url(path))
    assert answered == status, answer
    if status == 201:
        assert {name: answer["body"][name] for name in expected} == expected
        assert answer["body"]["wire_length"] <= 2000
    else:
        assert answer["code"] == expected


def test_least_memory_of_a_collector_is_enough_for_the_largest_page(mongo_uri: str, tmp_path: Path) -> None:
    environ = with_database(
        mongo_uri,
        INVENTORY_LANE_MEMORY_BYTES=str(LEAST_LANE_MEMORY_BYTES),
        INVENTORY_MAX_ATTEMPTS="1",
    )
    size = Settings().max_body_bytes
    with Origin() as origin, Service(tmp_path, "--allow-loopback", environ=environ) as service:
        service.wait_for_answer()
        origin.page("/", b"x" * size)
        status, record = post(service, origin.url("/"))
        assert (status, len(record["page_source"])) == (201, size)


def test_bound_of_one_host_holds_where_redirects_lead(mongo_uri: str, tmp_path: Path) -> None:
    environ = with_database(mongo_uri)
    bounds = {"INVENTORY_LANES": "1", "INVENTORY_HOST_CONCURRENCY": "2"}
    sources = [f"127.0.0.{number}" for number in range(3, 9)]
    with (
        Origin(addresses=["127.0.0.1", "127.0.0.2", *sources]) as origin,
        Service(tmp_path, "--allow-loopback", environ=environ | bounds) as service,
        ThreadPoolExecutor(len(sources)) as threads,
    ):
        service.wait_for_answer()
        origin.page("/held")
        origin.hold("/held")
        origin.redirect("/", origin.url("/held", host="127.0.0.1"))
        answers = [threads.submit(post, service, origin.url(host=source)) for source in sources]
        origin.wait_for("/", len(sources))
        origin.wait_for("/held", 2)
        origin.page("/free")
        assert post(service, origin.url("/free", host="127.0.0.2"))[0] == 201
        assert origin.count("/held") == 2
        origin.release("/held")
        assert {answer.result()[0] for answer in answers} == {201}


def test_transfer_below_the_least_speed_is_cut_off(impatient: Service, shared_origin: Origin) -> None:
    """At 100 bytes per second, which the default settings allow."""
    path = f"/{uuid.uuid4().hex}"
    shared_origin.answer(path, OK + b"\r\n", endless=b"x" * 10, every_s=0.1)
    began = time.monotonic()
    status, record = post(impatient, shared_origin.url(path))
    assert (status, record["body"]["truncated"]) == (201, "time")
    assert time.monotonic() - began < SLOWEST_S - 5
