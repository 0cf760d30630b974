"""The running program with names that no DNS server answers, and with tarpits: other collections go on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from tests.support.client import get, post
from tests.support.mounts import with_mount
from tests.support.origin import Origin, head
from tests.support.running import Service, with_database
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.timeout(90), pytest.mark.service]

NAME_SERVER = "127.0.0.77"
HOSTS = [f"127.0.0.{number}" for number in range(2, 8)]
# At most for a record's wait until its look-up began. With too few look-ups at once it was 2,500.
BLOCKED_MS = 1_500
BESIDE_S = 10.0


class NameServer:
    """A DNS server on port 53. Every name is 127.0.0.1, but one with a label "stalled…" is never answered."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="name server", daemon=True)

    def __enter__(self) -> NameServer:
        try:
            self._socket.bind((NAME_SERVER, 53))
        except OSError as error:
            self._socket.close()
            pytest.skip(f"a resolver asks port 53, which needs root or net.ipv4.ip_unprivileged_port_start: {error}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # "not connected", but it wakes the thread
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, client = self._socket.recvfrom(4096)
                if not wire:  # shut down
                    return
                query = dns.message.from_wire(wire)
                question = query.question[0]
                self.asked.add(question.name.to_text(omit_final_dot=True))
                if any(label.startswith(b"stalled") for label in question.name.labels):
                    continue
                answer = dns.message.make_response(query, recursion_available=True)
                if question.rdtype == dns.rdatatype.A:
                    answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "127.0.0.1"))
                self._socket.sendto(answer.to_wire(), client)


@pytest.fixture(scope="module")
def name_server() -> Iterator[NameServer]:
    with NameServer() as name_server:
        yield name_server


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(addresses=["127.0.0.1", *HOSTS]) as origin:
        yield origin


@contextlib.contextmanager
def serving(directory: Path, mongo_uri: str, **more: str) -> Iterator[Service]:
    """The program, with the name server of this test in its resolv.conf."""
    (directory / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    environ = with_database(
        mongo_uri,
        INVENTORY_ALLOW_DESTINATIONS="127.0.0.0/8",
        INVENTORY_MAX_ATTEMPTS="1",
        INVENTORY_SHUTDOWN_GRACE_S="0.5",
        **more,
    )
    command = with_mount("--bind", "resolv.conf", "/etc/resolv.conf")
    with Service(directory, environ=environ, command=command) as service:
        service.wait_for_answer()
        yield service


@pytest.fixture(scope="module")
def service(name_server: NameServer, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("stalled"), mongo_uri) as service:
        yield service


def ask_all(service: Service, urls: Sequence[str], *, wait_s: int = 0, collect: bool = True) -> list[tuple[int, Any]]:
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda url: get(service, url, wait_s=wait_s, collect=collect), urls))


def test_names_that_nobody_answers_hold_up_no_others(service: Service, name_server: NameServer, origin: Origin) -> None:
    stalled = [f"http://www.stalled-{number}.example/" for number in range(110)]
    stalled += [f"http://stalled-{number}.many.co.uk/" for number in range(30)]
    paths = ["/", *(f"/?{number}" for number in range(9))]
    for path in paths:
        origin.page(path)
    others = [origin.url("/", host=f"www.other-{number}.example") for number in range(8)]
    others += [origin.url("/", host=host) for host in ("other.co.uk", "www.another.co.uk")]
    others += [origin.url(path) for path in paths]
    assert {status for status, _ in ask_all(service, stalled)} == {202}
    began = time.monotonic()
    answers = ask_all(service, others, wait_s=20)
    took_s = time.monotonic() - began
    assert [status for status, _ in answers] == [200] * 20
    assert max(record["exchanges"][0]["timings_ms"]["blocked"] or 0 for _, record in answers) < BLOCKED_MS
    assert took_s < BESIDE_S

    def ended() -> bool:
        answers = ask_all(service, stalled, collect=False)
        return all((status, body.get("code")) == (504, "dns_timeout") for status, body in answers)

    wait_until(ended, 20, what="the end of names that are not answered")
    assert len([name for name in name_server.asked if "stalled" in name]) > 110


def test_a_look_up_has_the_time_that_is_set(name_server: NameServer, mongo_uri: str, tmp_path: Path) -> None:
    with serving(tmp_path, mongo_uri, INVENTORY_RESOLVE_TIMEOUT_S="0.3") as service:
        status, failure = post(service, "http://www.stalled-once.example/")
    assert (status, failure["code"]) == (504, "dns_timeout")
    assert failure["exchanges"][0]["timings_ms"]["dns"] == 300


def test_tarpits_hold_up_no_others(service: Service, origin: Origin) -> None:
    paths = [f"/tarpit-{number}" for number in range(10)]
    for path in paths:
        origin.answer(path, head(200, [("Content-Type", "text/plain")]), endless=b".", every_s=1)
    tarpits = [origin.url(path, host=host) for path in paths for host in HOSTS]
    others = [origin.url(f"/beside-{number}", host=host) for number in range(3) for host in ("127.0.0.1", *HOSTS)]
    for number in range(3):
        origin.page(f"/beside-{number}")
    assert {status for status, _ in ask_all(service, tarpits)} == {202}
    origin.wait_until(lambda: sum("tarpit" in request.path for request in origin.requests) == len(tarpits))
    began = time.monotonic()
    assert {status for status, _ in ask_all(service, others, wait_s=20)} == {200}
    assert time.monotonic() - began < BESIDE_S
    assert {status for status, _ in ask_all(service, tarpits, collect=False)} == {202}
