"""Bodies of collections: codings, limits, truncation, content types."""

from __future__ import annotations

import gzip
import hashlib
import zlib

import brotli
import pytest
from backports import zstd

from tests.collect.conftest import Collecting, content
from tests.support.origin import DEFAULT_PAGE, Origin, head

OK = b"HTTP/1.1 200 OK\r\n"


CODED = {
    "gzip": gzip.compress(DEFAULT_PAGE.encode(), mtime=0),
    "deflate": zlib.compress(DEFAULT_PAGE.encode()),
    "br": brotli.compress(DEFAULT_PAGE.encode()),
    "zstd": zstd.compress(DEFAULT_PAGE.encode()),
    "gzip, br": brotli.compress(gzip.compress(DEFAULT_PAGE.encode(), mtime=0)),
}


@pytest.mark.parametrize("coding", CODED)
def test_codings_that_are_asked_for_are_taken_off(collecting: Collecting, origin: Origin, coding: str) -> None:
    coded = CODED[coding]
    origin.page("/", coded, headers=[("Content-Encoding", coding)])
    capture = collecting.capture(origin.url("/"))
    body = capture.body
    assert content(capture) == DEFAULT_PAGE.encode()
    assert (body.wire_length, body.wire_sha256) == (len(coded), hashlib.sha256(coded).hexdigest())
    assert body.content_codings == tuple(coding.split(", "))
    assert body.coding_error is None
    assert all(name in origin.requests[0].headers["accept-encoding"] for name in body.content_codings)


@pytest.mark.parametrize(
    ("coding", "coded", "error"),
    [
        ("gzip", b"this is no gzip", "broken_coding"),
        ("gzip", CODED["gzip"][:-9], "truncated_coding"),
        ("sdch", b"whatever", "unknown_coding"),
    ],
)
def test_a_coding_that_fails_leaves_the_coded_bytes(
    collecting: Collecting, origin: Origin, coding: str, coded: bytes, error: str
) -> None:
    origin.page("/", coded, headers=[("Content-Encoding", coding)])
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == coded
    assert (capture.body.coding_error, capture.body.encoding) == (error, "base64")
    assert capture.body.media_type == "text/html"


@pytest.mark.parametrize("coding", ["identity", "sdch"])
def test_of_several_content_types_the_last_counts(collecting: Collecting, origin: Origin, coding: str) -> None:
    types = [
        ("Content-Type", f"text/{kind}; charset={charset}") for kind, charset in (("html", "utf-8"), ("css", "koi8-r"))
    ]
    origin.page("/", b"a { }", headers=[*types, ("Content-Encoding", coding)])
    body = collecting.capture(origin.url("/")).body
    assert body.media_type == "text/css"
    assert body.charset == ("koi8-r" if coding == "identity" else None)


def test_a_body_cut_off_is_kept_as_far_as_it_came(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"Content-Length: 100\r\n\r\n", b"only this")
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"only this"
    assert capture.body.truncated == "disconnect"


def test_a_coded_body_cut_off_is_decoded_as_far_as_it_came(collecting: Collecting, origin: Origin) -> None:
    page = "".join(f"line {number}\n" for number in range(20_000)).encode()
    coded = gzip.compress(page, mtime=0)
    origin.answer("/", head(200, [("Content-Encoding", "gzip"), ("Content-Length", str(len(coded)))]), coded[:20_000])
    capture = collecting.capture(origin.url("/"))
    assert capture.body.truncated == "disconnect"
    assert capture.body.coding_error is None
    assert len(content(capture)) > 20_000
    assert page.startswith(content(capture))


def test_a_reset_inside_the_body_is_a_disconnect(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"Content-Length: 100\r\n\r\nso far", reset=True)
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"so far"
    assert capture.body.truncated == "disconnect"


def test_a_broken_chunk_is_a_disconnect(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"zz\r\n", stall=True)
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"hello"
    assert capture.body.truncated == "disconnect"


def test_a_body_over_the_decoded_limit_is_cut_there(collecting: Collecting, origin: Origin) -> None:
    bomb = gzip.compress(b"0" * 1_000_000, mtime=0)
    origin.page("/", bomb, headers=[("Content-Encoding", "gzip")])
    collecting.start(max_body_bytes=1000)
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"0" * 1000
    assert (capture.body.truncated, capture.body.coding_error) == ("length", None)


def test_an_endless_body_is_cut_at_the_wire_limit(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"\r\n", endless=b"x" * 10_000)
    collecting.start(max_wire_bytes=123_456)
    capture = collecting.capture(origin.url("/"))
    assert capture.body.wire_length == capture.body.length == 123_456
    assert capture.body.truncated == "length"


def test_a_body_of_exactly_the_limit_is_whole(collecting: Collecting, origin: Origin) -> None:
    origin.page("/", "x" * 1000)
    collecting.start(max_body_bytes=1000, max_wire_bytes=1000)
    capture = collecting.capture(origin.url("/"))
    assert capture.body.length == 1000
    assert capture.body.truncated is None


def test_a_body_that_stalls_is_cut_by_time(collecting: Collecting, origin: Origin) -> None:
    origin.answer("/", OK + b"Content-Length: 100\r\n\r\n", b"so far", stall=True)
    collecting.start(collect_timeout_s=0.3)
    capture = collecting.capture(origin.url("/"))
    assert content(capture) == b"so far"
    assert capture.body.truncated == "time"
