"""Whole collections from a real origin, by an engine in this process: pages, redirects, many at once."""

from __future__ import annotations

import hashlib
import random

import pytest

from metadata_inventory.model.capture import Capture, FailureCode, Header
from tests.collect.conftest import Collecting, content
from tests.support.origin import DEFAULT_PAGE, Origin, head

OK = b"HTTP/1.1 200 OK\r\n"


def test_a_page_is_captured_whole(collecting: Collecting, origin: Origin) -> None:
    capture = collecting.capture(origin.url("/"))
    page = DEFAULT_PAGE.encode()
    assert capture.final_url == origin.url("/")
    assert content(capture) == page
    body = capture.body
    assert (body.length, body.wire_length, body.stored_length) == (len(page), len(page), len(capture.content))
    assert body.sha256 == body.wire_sha256 == hashlib.sha256(page).hexdigest()
    assert (body.media_type, body.charset, body.charset_source) == ("text/html", "utf-8", "content-type")
    assert (body.content_codings, body.coding_error, body.encoding, body.truncated) == ((), None, None, None)


def test_an_exchange_records_what_was_sent_and_received(collecting: Collecting, origin: Origin) -> None:
    collecting.options["user_agent"] = "tests/1"
    capture = collecting.capture(origin.url("/"))
    (exchange,) = capture.exchanges
    request, response = exchange.request, exchange.response
    assert response is not None
    assert (request.method, request.url, request.http_version) == ("GET", origin.url("/"), "HTTP/1.1")
    assert {header.name.lower(): header.value for header in request.headers} == origin.requests[0].headers
    assert Header("User-Agent", "tests/1") in request.headers
    assert (response.status_code, response.reason, response.http_version) == (200, "Made Up", "HTTP/1.1")
    assert [header.name for header in response.headers][-2:] == ["Set-Cookie", "Set-Cookie"]
    assert [(cookie.name, cookie.value) for cookie in response.set_cookies] == [("a", "1"), ("b", "2")]
    assert exchange.server is not None
    assert (exchange.server.ip, exchange.server.port) == ("127.0.0.1", origin.port)
    assert exchange.tls is None
    assert exchange.started_at <= capture.fetched_at
    assert exchange.started_at.microsecond % 1000 == 0


def test_phases_add_up_and_a_reused_connection_has_none_of_connecting(collecting: Collecting, origin: Origin) -> None:
    first = collecting.capture(origin.url("/")).exchanges[0].timings_ms
    second = collecting.capture(origin.url("/")).exchanges[0].timings_ms
    assert origin.connections == 1
    assert first.connect is not None
    assert (first.dns, first.tls) == (None, None)
    assert (second.dns, second.connect, second.tls) == (None, None, None)
    for timings in (first, second):
        durations = [timings.blocked, timings.send, timings.wait, timings.receive]
        assert all(duration is not None and duration >= 0 for duration in durations)


def test_a_response_with_an_error_status_is_a_capture(collecting: Collecting, origin: Origin) -> None:
    origin.page("/broken", "sorry", 500)
    capture = collecting.capture(origin.url("/broken"))
    assert capture.exchanges[0].response is not None
    assert capture.exchanges[0].response.status_code == 500
    assert content(capture) == b"sorry"
    assert collecting.capture(origin.url("/none")).exchanges[0].response is not None


def test_a_path_is_sent_as_it_is_recorded(collecting: Collecting, origin: Origin) -> None:
    path = "/a//b%2Fc/?x=1&&y=%41;z"
    origin.page(path)
    collecting.capture(origin.url(path))
    assert origin.count(path) == 1


def test_a_response_without_a_length_ends_with_its_connection(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"\r\n", b"one ", b"two")
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"one two"
    assert capture.body.truncated is None


def test_chunks_are_joined_and_trailers_are_no_headers(collecting: Collecting, origin: Origin) -> None:
    chunked = b"3\r\none\r\n4;x=y\r\n two\r\n0\r\nDigest: x\r\n\r\n"
    origin.answer("/", OK + b"Transfer-Encoding: chunked\r\nTrailer: Digest\r\n\r\n", chunked)
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"one two"
    assert capture.body.wire_length == 7
    response = capture.exchanges[0].response
    assert response is not None
    assert [header.name for header in response.headers] == ["Transfer-Encoding", "Trailer"]


def test_informational_responses_are_not_the_response(collecting: Collecting, origin: Origin) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    origin.answer("/", hints + OK + b"Content-Length: 2\r\n\r\nhi")
    response = collecting.capture(origin.url("/")).exchanges[0].response
    assert response is not None
    assert response.status_code == 200
    assert [header.name for header in response.headers] == ["Content-Length"]


def test_switching_protocols_ends_the_transfer(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"\0not http", stall=True)
    capture = collecting.capture(origin.url("/"))
    assert capture.exchanges[0].response is not None
    assert capture.exchanges[0].response.status_code == 101
    assert content(capture) == b""
    assert capture.body.truncated is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_an_empty_one(collecting: Collecting, origin: Origin, status: int) -> None:
    origin.answer("/", head(status, [("ETag", "x")]), keep_alive=True)
    capture = collecting.capture(origin.url("/"))
    assert capture.body.length == 0
    assert capture.body.truncated is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_with_get_and_each_is_an_exchange(
    collecting: Collecting, origin: Origin, status: int
) -> None:
    origin.redirect("/a", "/b?x#fragment", status)
    origin.redirect("/b?x", origin.url("/"), status)
    capture = collecting.capture(origin.url("/a"))
    assert [exchange.request.url for exchange in capture.exchanges] == [
        origin.url("/a"),
        origin.url("/b?x"),
        origin.url("/"),
    ]
    statuses = [exchange.response.status_code for exchange in capture.exchanges if exchange.response is not None]
    assert statuses == [status, status, 200]
    assert {request.method for request in origin.requests} == {"GET"}
    assert capture.final_url == origin.url("/")
    assert content(capture) == DEFAULT_PAGE.encode()
    assert origin.connections == 1


@pytest.mark.parametrize(
    ("location", "target"), [("next", "/dir/next"), ("../up", "/up"), ("?q", "/dir/page?q"), ("/a b", "/a%20b")]
)
def test_a_relative_location_is_resolved_as_browsers_do(
    collecting: Collecting, origin: Origin, location: str, target: str
) -> None:
    origin.redirect("/dir/page", location)
    origin.page(target)
    assert collecting.capture(origin.url("/dir/page")).final_url == origin.url(target)


@pytest.mark.parametrize("location", ["mailto:a@example.com", "http://user@127.0.0.1/", "http://[", "ftp://x/", ""])
def test_a_redirect_that_cannot_be_followed_is_the_final_response(
    collecting: Collecting, origin: Origin, location: str
) -> None:
    origin.page("/a", "moved", 302, [("Location", location)] if location else [])
    capture = collecting.capture(origin.url("/a"))
    assert len(capture.exchanges) == 1
    assert content(capture) == b"moved"


def test_a_loop_is_found_when_it_closes(collecting: Collecting, origin: Origin) -> None:
    origin.redirect("/a", "/b")
    origin.redirect("/b", "/a")
    failure = collecting.failure(origin.url("/a"))
    assert failure.code is FailureCode.TOO_MANY_REDIRECTS
    assert [exchange.request.url for exchange in failure.exchanges] == [origin.url(path) for path in ("/a", "/b", "/a")]
    assert failure.exchanges[-1].response is None
    assert len(origin.requests) == 2


def test_the_same_url_with_new_cookies_is_no_loop(collecting: Collecting, origin: Origin) -> None:
    origin.redirect("/a", "/b", headers=[("Set-Cookie", "seen=1")])
    origin.redirect("/b", "/a")
    failure = collecting.failure(origin.url("/a"))
    assert failure.code is FailureCode.TOO_MANY_REDIRECTS
    sent = [(request.path, request.headers.get("cookie")) for request in origin.requests]
    assert sent == [("/a", None), ("/b", "seen=1"), ("/a", "seen=1")]  # a second /b would repeat the first one


def test_more_redirects_than_allowed_fail(collecting: Collecting, origin: Origin) -> None:
    for number in range(5):
        origin.redirect(f"/{number}", f"/{number + 1}")
    origin.page("/3")
    collecting.start(max_redirects=3)
    assert len(collecting.capture(origin.url("/0")).exchanges) == 4
    origin.redirect("/3", "/4")
    failure = collecting.failure(origin.url("/0"))
    assert failure.code is FailureCode.TOO_MANY_REDIRECTS
    assert len(failure.exchanges) == 5
    assert failure.exchanges[-1].request.headers == ()
    assert origin.count("/4") == 0


def test_cookies_go_from_hop_to_hop_and_not_beyond_the_collection(collecting: Collecting, origin: Origin) -> None:
    origin.redirect("/a", "/b", headers=[("Set-Cookie", "x=caf\xe9"), ("Set-Cookie", "y=2; Path=/elsewhere")])
    origin.page("/b")
    exchange = collecting.capture(origin.url("/a")).exchanges[1]
    assert origin.requests[1].headers["cookie"] == "x=caf\xe9"
    assert "caf\xe9" in next(header.value for header in exchange.request.headers if header.name == "Cookie")
    collecting.capture(origin.url("/b"))
    assert "cookie" not in origin.requests[2].headers


def test_a_redirects_long_body_is_not_read_to_its_end(collecting: Collecting, origin: Origin) -> None:
    collecting.start(redirect_body_ms=60_000, collect_timeout_s=10)
    origin.answer("/a", head(302, [("Location", "/")]), endless=b"x" * 65536)
    capture = collecting.capture(origin.url("/a"))
    assert capture.final_url == origin.url("/")
    assert (capture.exchanges[0].timings_ms.receive or 0) < 5_000, "by its length, and not by a time"


def test_a_redirects_stalled_body_is_not_waited_for(collecting: Collecting, origin: Origin) -> None:
    collecting.start(redirect_body_ms=50, collect_timeout_s=3)
    origin.answer("/a", head(302, [("Location", "/"), ("Content-Length", "10")]), b"x", stall=True)
    capture = collecting.capture(origin.url("/a"))
    assert capture.final_url == origin.url("/")
    assert capture.body.truncated is None


def test_slow_transfers_do_not_hold_up_others(collecting: Collecting, origin: Origin) -> None:
    collecting.start(host_concurrency=21)
    origin.hold("/held")
    held = [collecting.order(origin.url("/held")) for _ in range(20)]
    collecting.advance(*held)
    collecting.go_on_until(lambda: origin.count("/held") == 20)
    assert isinstance(collecting.collect(origin.url("/")), Capture)
    origin.release("/held")
    assert {type(outcome) for outcome in collecting.finish(*held)} == {Capture}


def test_an_abandoned_collection_is_cut_off_and_never_reported(collecting: Collecting, origin: Origin) -> None:
    origin.hold("/held")
    order = collecting.order(origin.url("/held"))
    collecting.advance(order)
    collecting.go_on_until(lambda: origin.count("/held") == 1)
    assert collecting.advance(abandoned=(order.token, "unknown")) == {}
    origin.release("/held")
    origin.wait_until(lambda: origin.closed == 1)
    assert collecting.advance(collecting.order(origin.url("/"))) is not None


def test_bodies_are_returned_a_few_mebibytes_at_a_time(collecting: Collecting, origin: Origin) -> None:
    noise = random.Random(1).randbytes(1_500_000)
    for number in range(5):
        origin.page(f"/{number}", noise, headers=[("Content-Type", "application/octet-stream")])
    orders = [collecting.order(origin.url(f"/{number}")) for number in range(5)]
    got = collecting.advance(*orders, wait_ms=0)
    most = 0
    while len(got) < 5:
        some = collecting.advance()
        most = max(most, len(some))
        got |= some
    assert most <= 2
    assert {type(outcome) for outcome in got.values()} == {Capture}


@pytest.mark.parametrize(
    ("location", "requested"),
    [
        pytest.param("/%c3%a4%7e", "/%c3%a4%7e", id="escapes as they came"),
        pytest.param("/caf\xe9", "/caf%E9", id="octets that are not UTF-8"),
        pytest.param("?", "/a?", id="an empty query"),
    ],
)
def test_a_redirect_is_requested_as_it_is_recorded(
    collecting: Collecting, origin: Origin, location: str, requested: str
) -> None:
    origin.redirect("/a", location)
    origin.page(requested)
    assert collecting.capture(origin.url("/a")).final_url == origin.url(requested)
    assert origin.requests[-1].path == requested
