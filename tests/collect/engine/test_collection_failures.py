"""Collections that end without final headers, and errors in one collection that must not end others."""

from __future__ import annotations

import pytest

from metadata_inventory.model.capture import Capture, Failure, FailureCode, Header
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.urls import NormalizedUrl
from tests.collect.conftest import Collecting
from tests.support.options import header_limits
from tests.support.origin import Origin

OK = b"HTTP/1.1 200 OK\r\n"


def test_a_refused_connection(collecting: Collecting) -> None:
    with Origin() as gone:
        url = gone.url("/")
    failure = collecting.failure(url)
    assert failure.code is FailureCode.CONNECTION_REFUSED
    (exchange,) = failure.exchanges
    assert exchange.response is None
    assert exchange.server is None
    assert (exchange.request.url, exchange.request.headers) == (url, ())
    assert exchange.timings_ms.connect is not None
    assert exchange.timings_ms.send is None


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "http://10.1.2.3:8080/", "http://localhost/"])
def test_a_refused_address_is_never_connected_to(collecting: Collecting, url: str) -> None:
    collecting.start(destinations=DestinationPolicy())
    failure = collecting.failure(url)
    assert failure.code is FailureCode.DESTINATION_IP_PROHIBITED
    assert len(failure.exchanges) == 1
    assert failure.exchanges[0].server is None


class LatePolicy(DestinationPolicy):
    """Allows every URL, and the first `left` addresses: refusals come from the checks at the socket."""

    left = 0

    def refuses_url(self, url: NormalizedUrl) -> bool:
        return False

    def allows_address(self, ip: str, port: int) -> bool:
        LatePolicy.left -= 1
        return LatePolicy.left >= 0


@pytest.mark.parametrize(("allowed", "connections"), [(0, 0), (1, 1), (2, 1)])
def test_an_address_is_checked_for_every_socket_and_for_every_request(
    collecting: Collecting, origin: Origin, allowed: int, connections: int
) -> None:
    LatePolicy.left = allowed
    collecting.start(destinations=LatePolicy.parse(["127.0.0.1"]))
    if allowed == 2:
        collecting.capture(
            origin.url("/")
        )  # checked for the socket and for the request; the next collection reuses the connection
    failure = collecting.failure(origin.url("/secret"))
    assert failure.code is FailureCode.DESTINATION_IP_PROHIBITED
    assert (failure.exchanges[0].server, failure.exchanges[0].request.headers) == (None, ())
    assert "127.0.0.1" not in failure.detail
    assert origin.count("/secret") == 0
    assert origin.connections <= connections


def test_a_redirect_to_a_refused_address_fails_there(collecting: Collecting, origin: Origin) -> None:
    with Origin() as inside:
        origin.redirect("/a", inside.url("/secret"))
        collecting.start(destinations=DestinationPolicy.parse([f"127.0.0.1:{origin.port}"]))
        failure = collecting.failure(origin.url("/a"))
        assert inside.connections == 0
    assert failure.code is FailureCode.DESTINATION_IP_PROHIBITED
    assert failure.exchanges[0].response is not None
    assert failure.exchanges[1].response is None


def test_headers_that_do_not_come_are_a_timeout_of_the_response(collecting: Collecting, origin: Origin) -> None:
    collecting.start(collect_timeout_s=0.3)
    origin.hold("/")
    failure = collecting.failure(origin.url("/"))
    assert failure.code is FailureCode.HTTP_RESPONSE_TIMEOUT
    (exchange,) = failure.exchanges
    assert exchange.response is None
    assert exchange.server is not None
    assert exchange.request.headers
    assert exchange.timings_ms.wait is not None
    assert exchange.timings_ms.wait > 100
    assert exchange.timings_ms.receive is None


def test_headers_that_stop_are_a_timeout_of_the_response(collecting: Collecting, origin: Origin) -> None:
    collecting.start(collect_timeout_s=0.3)
    origin.answer("/", OK + b"A: 1\r\n", stall=True)
    failure = collecting.failure(origin.url("/"))
    assert failure.code is FailureCode.HTTP_RESPONSE_TIMEOUT
    assert failure.exchanges[0].response is None


def test_the_deadline_is_one_over_all_hops(collecting: Collecting, origin: Origin) -> None:
    collecting.start(collect_timeout_s=0.4)
    origin.redirect("/a", "/b")
    origin.hold("/b")
    failure = collecting.failure(origin.url("/a"))
    assert failure.code is FailureCode.HTTP_RESPONSE_TIMEOUT
    assert len(failure.exchanges) == 2
    assert (failure.at - failure.exchanges[0].started_at).total_seconds() < 2


@pytest.mark.parametrize(
    ("chunks", "code"),
    [
        ([], FailureCode.CONNECTION_TERMINATED),
        ([b"HTTP/1.1 200 OK\r\nA: 1\r\n"], FailureCode.HTTP_RESPONSE_INCOMPLETE),
        ([b"SSH-2.0-OpenSSH_9\r\n"], FailureCode.HTTP_PROTOCOL_ERROR),
        ([b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"], FailureCode.HTTP_PROTOCOL_ERROR),
        ([b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"], FailureCode.HTTP_PROTOCOL_ERROR),
        ([b"HTTP/1.1 abc OK\r\n\r\n"], FailureCode.HTTP_PROTOCOL_ERROR),
    ],
)
def test_an_incomplete_response_is_a_failure(
    collecting: Collecting, origin: Origin, chunks: list[bytes], code: FailureCode
) -> None:
    origin.answer("/", *chunks)
    failure = collecting.failure(origin.url("/"))
    assert failure.code is code
    assert failure.exchanges[0].server is not None


def test_a_reset_before_the_response_is_a_broken_connection(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", reset=True)
    assert collecting.failure(origin.url("/")).code is FailureCode.CONNECTION_TERMINATED


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        ({"max_header_lines": 10}, [b"A: 1\r\n"] * 20),
        ({}, [b"A: 1\r\n"] * 3000),
        ({}, [b"A: " + b"x" * 70_000 + b"\r\n"]),
        ({}, [b"A: " + b"x" * 60_000 + b"\r\n"] * 5),
    ],
)
def test_headers_over_our_limits_are_shown_as_far_as_they_came(
    collecting: Collecting, origin: Origin, limits: dict[str, int], lines: list[bytes]
) -> None:
    origin.answer("/", OK + b"First: 1\r\n" + b"".join(lines) + b"\r\n", b"body")
    collecting.start(headers=header_limits(**limits))
    failure = collecting.failure(origin.url("/"))
    assert failure.code is FailureCode.HTTP_PROTOCOL_ERROR
    assert failure.exchanges[0].response is not None
    assert failure.exchanges[0].response.headers[0] == Header("First", "1")


def test_an_internal_error_ends_only_its_own_collection(
    collecting: Collecting, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("made up")

    held = collecting.order(origin.url("/held"))
    origin.hold("/held")
    collecting.advance(held)
    collecting.go_on_until(lambda: origin.count("/held") == 1)
    for target in ("hop.parse_codings", "collection.build_exchange", "collection.Hop"):
        with monkeypatch.context() as patched:
            patched.setattr(f"metadata_inventory.collect.engine.{target}", fail)
            assert collecting.failure(origin.url("/")).code is FailureCode.INTERNAL_ERROR
    origin.release("/held")
    assert isinstance(collecting.finish(held)[0], Capture)


def test_an_order_that_cannot_be_begun_is_an_internal_error(collecting: Collecting) -> None:
    assert collecting.failure("not a url").code is FailureCode.INTERNAL_ERROR


def test_an_error_of_the_engine_ends_all_collections_and_a_new_engine_goes_on(
    collecting: Collecting, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [collecting.order(origin.url("/held")) for _ in range(2)]
    origin.hold("/held")
    collecting.advance(orders[0])
    with monkeypatch.context() as patched:
        patched.setattr("metadata_inventory.collect.engine.multi.Multi.turn", lambda self, wait_s: 1 / 0)
        got = collecting.advance(orders[1])
    assert [got[order.token] for order in orders if isinstance(got[order.token], Failure)]
    assert set(got) == {order.token for order in orders}
    assert isinstance(collecting.collect(origin.url("/")), Capture)


def test_cookies_count_with_the_paths_that_they_take_from_the_url(collecting: Collecting, origin: Origin) -> None:
    """Otherwise 15 bytes of header could become 8 KiB in the database each."""
    path = f"/{'x' * 4_000}/"
    cookies = [("Set-Cookie", f"{number}") for number in range(300)]
    origin.page(path, headers=cookies)
    failure = collecting.failure(origin.url(path))
    assert failure.code is FailureCode.HTTP_PROTOCOL_ERROR
    assert failure.exchanges[0].response is not None
    assert failure.exchanges[0].response.set_cookies == ()
    origin.page("/short", headers=cookies)
    response = collecting.capture(origin.url("/short")).exchanges[0].response
    assert response is not None
    assert len(response.set_cookies) == 300


def test_headers_of_all_hops_together_are_bounded(collecting: Collecting, origin: Origin) -> None:
    """Otherwise a record might not fit into a document of the database."""
    collecting.start(headers=header_limits(max_header_bytes=8_000, max_collection_bytes=20_000))
    long = [(f"X-{number}", "x" * 700) for number in range(10)]
    for number in range(3):
        origin.redirect(f"/{number}", f"/{number + 1}", headers=long)
    origin.page("/3", "reached")
    assert isinstance(collecting.collect(origin.url("/1")), Capture)
    failure = collecting.failure(origin.url("/0"))
    assert failure.code is FailureCode.HTTP_PROTOCOL_ERROR
    assert len(failure.exchanges) == 3
