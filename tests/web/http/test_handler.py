"""Errors that reach the base handler: a caller's are not logged, those that nobody foresaw are logged once."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.service.bootstrap import Service
from metadata_inventory.service.settings import Settings
from metadata_inventory.web.app import make_app
from metadata_inventory.web.http.server import make_server


async def ask(mongo_uri: str, check: Callable[[], Awaitable[None]], path: str) -> HTTPResponse:
    """The answer of a server whose readiness is what `check` says."""
    services = replace(Service(Settings(mongo_uri=mongo_uri)).services, check=check)
    server = make_server(make_app(services), max_connections=10, idle_timeout_s=10, body_timeout_s=10)
    client = AsyncHTTPClient(force_instance=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server.add_sockets([listener])
        port = listener.getsockname()[1]
        answer = await client.fetch(f"http://127.0.0.1:{port}{path}", raise_error=False)
        client.close()
        server.stop()
        await server.close_all_connections()
    return answer


async def break_down() -> None:
    raise ZeroDivisionError("a secret")


async def say_unavailable() -> None:
    raise StorageUnavailable


@pytest.mark.gen_test
async def test_exception_that_nobody_foresaw_is_500_and_logged_once(
    mongo_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await ask(mongo_uri, break_down, "/readyz?key=private")
    problem = json.loads(answer.body)
    assert (answer.code, problem["code"]) == (500, "internal_error")
    assert "secret" not in answer.body.decode()
    (logged,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert logged.getMessage() == "GET /readyz failed"
    assert "ZeroDivisionError" in caplog.text
    assert "private" not in caplog.text


@pytest.mark.gen_test
@pytest.mark.parametrize(("path", "status"), [("/readyz", 503), ("/nowhere", 404), ("/api/metadata/", 400)])
async def test_error_of_the_project_is_not_logged_as_a_fault(
    mongo_uri: str, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    answer = await ask(mongo_uri, say_unavailable, path)
    assert answer.code == status
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
