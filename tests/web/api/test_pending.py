"""When a client that was answered 202 is told to ask again."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.support.origin import Origin
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until
from tests.web.client import Api


@pytest.mark.gen_test
async def test_collection_that_runs_is_asked_for_again_after_a_second(api: Api, shared_origin: Origin) -> None:
    path = f"/{uuid.uuid4().hex}"
    shared_origin.page(path)
    shared_origin.hold(path)
    try:
        answer = await api.get(url=shared_origin.url(path))
        assert (answer.status, answer.headers["Retry-After"]) == (202, "1")
    finally:
        shared_origin.release(path)


def test_collection_that_waits_for_its_retry_is_asked_for_again_when_it_is_due(mongo_uri: str, tmp_path: Path) -> None:
    environ = with_database(mongo_uri, INVENTORY_RETRY_BASE_S="60")  # half of it at least
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with Service(tmp_path, "--allow-loopback", environ=environ) as service:
        service.wait_for_answer()

        def retry_after_s() -> int:
            with urlopen(f"{service.url}/api/metadata/?url={quote(url, safe='')}", timeout=30) as answer:
                assert answer.status == 202
                return int(answer.headers["Retry-After"])

        wait_until(lambda: 20 < retry_after_s() <= 60, 10, what="the time of the retry")
