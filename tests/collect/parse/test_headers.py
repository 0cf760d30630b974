"""Header lines of responses and requests, and the limits of their number and size."""

from __future__ import annotations

import base64

import pytest

from metadata_inventory.collect.options import HeaderLimits
from metadata_inventory.collect.parse.headers import HeaderReader, raw_value, read_request, read_text
from metadata_inventory.model.capture import Header
from tests.support.options import header_limits


def read(*lines: bytes, limits: HeaderLimits | None = None) -> HeaderReader:
    reader = HeaderReader(limits or header_limits())
    for line in lines:
        reader.feed(line + b"\r\n")
    return reader


def test_status_line_and_headers_keep_their_order_and_spelling() -> None:
    reader = read(b"HTTP/1.1 404 Not Here", b"X-b: 1", b"x-A: 2", b"X-b:3 ", b"")
    assert (reader.http_version, reader.status_code, reader.reason) == ("HTTP/1.1", 404, "Not Here")
    assert reader.headers == [Header("X-b", "1"), Header("x-A", "2"), Header("X-b", "3")]
    assert reader.complete
    assert reader.violation is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.0 200 OK", ("HTTP/1.0", 200, "OK")),
        (b"HTTP/2 200 ", ("HTTP/2", 200, "")),
        (b"HTTP/1.1 999", ("HTTP/1.1", 999, "")),
        (b"HTTP/1.1 200  two  words", ("HTTP/1.1", 200, "two  words")),
        (b"HTTP/1.1 200 na\xefve", ("HTTP/1.1", 200, "naïve")),
    ],
)
def test_status_lines_are_read(line: bytes, expected: tuple[str, int, str]) -> None:
    reader = read(line, b"")
    assert (reader.http_version, reader.status_code, reader.reason) == expected


@pytest.mark.parametrize("line", [b"", b"HTTP/1.1", b"HTTP/1.1 20 OK", b"HTTP/1.1 099 Low", b"ICY 200 OK", b"<html>"])
def test_anything_but_a_status_line_is_a_violation(line: bytes) -> None:
    assert read(line).violation is not None


def test_informational_responses_are_skipped() -> None:
    reader = read(b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"", b"HTTP/1.1 100 Continue", b"")
    assert not reader.complete
    assert reader.started
    for line in (b"HTTP/1.1 200 OK\r\n", b"A: 1\r\n", b"\r\n"):
        reader.feed(line)
    assert reader.status_code == 200
    assert reader.headers == [Header("A", "1")]


def test_switching_protocols_is_final() -> None:
    reader = read(b"HTTP/1.1 101 Switching Protocols", b"Upgrade: x", b"")
    assert reader.complete
    assert reader.status_code == 101


def test_trailers_are_kept_apart() -> None:
    reader = read(b"HTTP/1.1 200 OK", b"A: 1", b"", b"Digest: x", b"")
    assert reader.headers == [Header("A", "1")]
    assert reader.trailers == [Header("Digest", "x")]


def test_headers_without_their_final_empty_line_are_not_complete() -> None:
    reader = read(b"HTTP/1.1 200 OK", b"A: 1")
    assert not reader.complete
    assert reader.status_code == 200


@pytest.mark.parametrize("line", [b"no colon", b": no name", b"  : no name"])
def test_a_line_without_a_name_is_a_violation(line: bytes) -> None:
    assert read(b"HTTP/1.1 200 OK", line).violation == "A header line has no name."


def test_values_are_utf_8_or_else_iso_8859_1_with_their_bytes() -> None:
    reader = read(b"HTTP/1.1 200 OK", "A: schön".encode(), "B: schön".encode("latin-1"), b"")
    plain, exact = reader.headers
    assert plain == Header("A", "schön")
    assert exact == Header("B", "schön", base64.b64encode("schön".encode("latin-1")).decode())
    assert [raw_value(header) for header in reader.headers] == ["schön".encode(), "schön".encode("latin-1")]


def test_values_of_a_name_are_found_in_whatever_case() -> None:
    assert read(b"HTTP/1.1 200 OK", b"sEt-cookie: a", b"Set-Cookie: b", b"").values("set-cookie") == ["a", "b"]


@pytest.mark.parametrize(
    ("limits", "lines"),
    [
        (header_limits(max_header_lines=4), [b"A: 1", b"B: 2", b"C: 3", b"D: 4"]),
        (header_limits(max_line_bytes=20), [b"A: " + b"x" * 16]),
        (header_limits(max_header_bytes=100), [b"A: " + b"x" * 40, b"B: " + b"x" * 40]),
    ],
)
def test_a_limit_that_is_passed_is_a_violation_and_ends_reading(limits: HeaderLimits, lines: list[bytes]) -> None:
    reader = read(b"HTTP/1.1 200 OK", *lines, b"", limits=limits)
    assert reader.violation is not None
    assert not reader.complete
    assert len(reader.headers) == len(lines) - 1


def test_headers_at_a_limit_are_read() -> None:
    limits = header_limits(max_header_lines=3, max_line_bytes=17, max_header_bytes=17 + 6 + 2)
    assert read(b"HTTP/1.1 200 OK", b"A: 1", b"", limits=limits).complete


def test_informational_responses_and_trailers_count_towards_the_limits() -> None:
    limits = header_limits(max_header_lines=6)
    early = [b"HTTP/1.1 103 Early Hints", b"A: 1", b""] * 2
    assert read(*early, b"HTTP/1.1 200 OK", limits=limits).violation is not None
    assert read(b"HTTP/1.1 200 OK", b"", *[b"T: 1"] * 5, limits=limits).violation is not None


def test_a_sent_request_is_read() -> None:
    raw = b"GET /a%20b?c HTTP/1.1\r\nHost: x\r\nCookie: a=1; b=\xe9\r\n\r\n"
    method, version, headers = read_request(raw)
    assert (method, version) == ("GET", "HTTP/1.1")
    assert headers[0] == Header("Host", "x")
    assert headers[1].name == "Cookie"
    assert raw_value(headers[1]) == b"a=1; b=\xe9"


def test_text_keeps_bytes_that_are_not_utf_8() -> None:
    assert read_text(b"\xff\xfe", name="N").value_base64 == "//4="
    assert read_text(b"", name="N") == Header("N", "")
