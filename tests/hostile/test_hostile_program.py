"""The running program, which may connect to one origin: its answers, records and logs for hostile URLs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from tests.hostile.trap import ORIGIN, Trap
from tests.hostile.urls import PROHIBITED, URLS, HostileUrl
from tests.support.client import get, post
from tests.support.origin import Origin
from tests.support.running import Service

PRIVATE = "10.66.77.88"
DNS = f"""
import socket

ask = socket.getaddrinfo

def answer(host, *arguments, **options):
    return ask("{PRIVATE}" if host == b"inside.example" else host, *arguments, **options)

socket.getaddrinfo = answer
"""


@pytest.fixture(scope="module")
def outside() -> Iterator[Origin]:
    with Origin(addresses=[ORIGIN]) as origin:
        yield origin


@pytest.fixture(scope="module")
def database() -> str:
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def guarded(
    mongo_uri: str, database: str, outside: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Its resolver knows `inside.example`: Python imports `sitecustomize` in every process."""
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "sitecustomize.py").write_text(DNS)
    environ = {"MONGO_URI": mongo_uri, "INVENTORY_DATABASE": database, "INVENTORY_LOG_LEVEL": "DEBUG"}
    allowed = ("--allow-destination", f"{ORIGIN}:{outside.port}")
    with Service(directory, "--lanes", "1", *allowed, environ=environ, path=[directory]) as service:
        service.wait_for_answer()
        yield service


def stored(mongo_uri: str, database: str) -> list[str]:
    with MongoClient(mongo_uri) as client:
        return [repr(document) for document in client[database].records.find()]


@pytest.mark.parametrize("hostile", URLS, ids=lambda hostile: hostile.name)
def test_the_api_refuses_it(hostile: HostileUrl, guarded: Service, trap: Trap) -> None:
    url = hostile.url.format(port=trap.port)
    status = 403 if hostile.api == PROHIBITED else 400
    for answered, problem in (post(guarded, url), get(guarded, url)):
        assert (answered, problem["code"]) == (status, hostile.api)
        assert "exchanges" not in problem  # nobody tried
    assert trap.sprung() == []


def test_what_the_api_refuses_is_not_stored(guarded: Service, trap: Trap, mongo_uri: str, database: str) -> None:
    before = stored(mongo_uri, database)
    assert post(guarded, f"http://127.0.0.1:{trap.port}/")[0] == 403
    assert stored(mongo_uri, database) == before


def test_where_a_name_leads_inside_is_neither_told_nor_stored_nor_logged(
    guarded: Service, outside: Origin, mongo_uri: str, database: str
) -> None:
    outside.redirect("/", "http://inside.example/secret")
    for url, status, hops in (("http://inside.example/", 403, 1), (outside.url("/"), 502, 2)):
        answers = [post(guarded, url), get(guarded, url)]
        for answered, problem in answers:
            assert (answered, problem["code"]) == (status, PROHIBITED)
            assert len(problem["exchanges"]) == hops
        assert PRIVATE not in repr(answers)
    documents = stored(mongo_uri, database)
    assert len([one for one in documents if "inside.example" in one]) == 2
    assert PRIVATE not in "".join(documents)
    assert PRIVATE not in guarded.log


def test_what_is_opened_is_said_at_the_start(guarded: Service, outside: Origin) -> None:
    (line,) = [line for line in guarded.log.splitlines() if "allow_destinations" in line]
    assert "WARNING" in line
    assert line.endswith(f"allow_destinations is set: URLs may also lead to {ORIGIN}:{outside.port}")
