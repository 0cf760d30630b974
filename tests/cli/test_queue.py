"""The commands that send requests to a service, when something else answers, or something goes wrong midway."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.support.running import environment

PUT_BACK = b'{"requeued": 200, "more": true, "failed_before": "2026-01-02T03:04:05Z"}'


@contextmanager
def server(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Serves one connection with each answer, in turn. Yields its URL, and the requests in a list."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                connection, _ = listening.accept()
                with connection:
                    request = connection.recv(65536)
                    length = int(request.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                    while len(request.partition(b"\r\n\r\n")[2]) < length:
                        request += connection.recv(65536)
                    requests.append(request)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        thread.join(10)
        assert not thread.is_alive()


def answer(body: bytes, status: bytes = b"200 OK", *, length: int | None = None) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body) if length is None else length, body)


def run(command: str, service: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
    line: Sequence[str] = [sys.executable, "-m", "metadata_inventory", command, "--service", service, *arguments]
    done = subprocess.run(line, env=environment(**environ), capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", ["queue", "requeue"])
@pytest.mark.parametrize(
    "service",
    [
        "http://localhost:80a",
        "http://[::1",
        "http://localhost:99999",
        "http://",
        "localhost:8000",
        "ftp://localhost",
        "http://a b",
        "http://h/?x",
    ],
)
def test_wrong_service_is_a_wrong_call(command: str, service: str) -> None:
    status, output, complaint = run(command, service)
    assert (status, output) == (2, "")
    assert complaint.startswith("usage: ")
    assert complaint.splitlines()[-1].endswith(
        f"error: argument --service: it must be http://HOST or http://HOST:PORT, not {service!r}"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not answer"),
        (b"SSH-2.0-OpenSSH_9.2\x1b[2J\r\n", "does not answer in HTTP"),
        (answer(b'{"requ', length=100), "does not answer in HTTP: IncompleteRead"),
        (answer(b'{"det', b"503 Busy", length=100), "answered with status 503."),
        (answer(b'{"detail": 1}', b"404 Not Found"), "answered with status 404."),
        (answer(b"[]", b"404 Not Found"), "answered with status 404."),
        (answer(b"<html>"), "it is another program"),
        (answer(b'{"status": "ok"}'), "it is another program"),
        (answer(b"[1, 2]"), "it is another program"),
        (answer(b"\xff"), "it is another program"),
        (answer(b"[" * 100_000), "it is another program"),
    ],
)
@pytest.mark.parametrize("command", [("queue",), ("queue", "--json"), ("requeue",)])
def test_answer_of_something_else_is_one_line_and_status_1(command: tuple[str, ...], content: bytes, said: str) -> None:
    with server(content) as (service, _):
        status, _, complaint = run(command[0], service, *command[1:])
    assert status == 1
    assert complaint.startswith(f"error: {service} ")
    assert said in complaint
    assert complaint.count("\n") == 1
    assert complaint[:-1].isprintable()


def test_problem_whose_code_is_no_text_is_one_line_and_status_1() -> None:
    with server(answer(b'{"detail": "No.", "code": [2]}', b"503 Busy")) as (service, _):
        status, _, complaint = run("requeue", service)
    assert (status, complaint) == (1, "error: No. [[2]]\n")


def test_requeue_adds_up_and_asks_only_for_what_had_failed_before() -> None:
    last = b'{"requeued": 7, "more": false, "failed_before": "2026-01-02T03:04:05Z"}'
    with server(answer(PUT_BACK), answer(PUT_BACK), answer(last)) as (service, requests):
        assert run("requeue", service) == (0, "407 put back\n", "")
    assert b"failed_before" not in requests[0]
    assert [b'"failed_before": "2026-01-02T03:04:05Z"' in request for request in requests[1:]] == [True, True]


def test_requeue_waits_where_its_work_is_limited() -> None:
    limited = b'{"detail": "d", "code": "rate_limited"}'
    later = b"HTTP/1.1 429 x\r\nRetry-After: 1\r\nContent-Length: %d\r\n\r\n%b" % (len(limited), limited)
    last = b'{"requeued": 7, "more": false, "failed_before": "2026-01-02T03:04:05Z"}'
    with server(answer(PUT_BACK), later, answer(last)) as (service, requests):
        began_at = time.monotonic()
        assert run("requeue", service) == (0, "207 put back\n", "")
        assert time.monotonic() - began_at > 1
    assert requests[2] == requests[1], "the same is asked again"


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (b"", "200 put back for certain; more may have been\n"),
        (answer(b'{"detail": "d", "code": "storage_unavailable"}', b"503 x"), "200 put back for certain; more may h"),
        (answer(b'{"detail": "d", "code": "queue_full"}', b"503 x"), "200 put back\n"),
        (answer(b'{"detail": "d", "code": "token_missing"}', b"401 x"), "200 put back\n"),
        (answer(b'{"detail": "d", "code": "rate_limited"}', b"429 x"), "200 put back\n"),
    ],
)
def test_requeue_that_is_broken_off_tells_what_is_certain(lost: bytes, told: str) -> None:
    with server(answer(PUT_BACK), lost) as (service, _):
        status, output, complaint = run("requeue", service)
    assert (status, complaint.count("\n")) == (1, 1)
    assert output.startswith(told)


def test_service_that_cannot_be_reached_is_named_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        service = f"http://127.0.0.1:{free.getsockname()[1]}"
    complaint = f"error: {service} does not answer: Connection refused.\n"
    assert run("queue", service) == (1, "", complaint)
    assert run("requeue", service) == (1, "0 put back\n", complaint), "certainly none"


def test_what_is_no_key_is_not_repeated() -> None:
    status, _, complaint = run("queue", "http://127.0.0.1:9", METADATA_INVENTORY_TOKEN="needle\nneedle")
    assert (status, complaint) == (1, "error: METADATA_INVENTORY_TOKEN must be an API key; it is not shown here.\n")
