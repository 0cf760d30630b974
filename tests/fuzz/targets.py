"""The fuzzed functions: each takes arbitrary bytes, gives them to a parser of responses and checks what must hold.

A target raises on a finding. Its first bytes choose how the parser is called, so that one string is a whole case: the
coverage-guided fuzzer (`guided`), Hypothesis and the kept findings (`test_targets`) all run the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import msgpack

from metadata_inventory.collect.options import HeaderLimits
from metadata_inventory.collect.parse.content_coding import BodyDecoder, Decoded, parse_codings
from metadata_inventory.collect.parse.content_type import identify
from metadata_inventory.collect.parse.cookie_jar import CookieJar
from metadata_inventory.collect.parse.headers import HeaderReader, raw_value, read_request
from metadata_inventory.collect.parse.set_cookie import REFUSALS, charset_of, parse_set_cookie
from metadata_inventory.collect.parse.summary import summarize
from metadata_inventory.model.capture import Header
from metadata_inventory.model.charsets import decode, find_charset

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
URLS: Final = (
    "https://www.shop.example/a/b",
    "http://shop.example/",
    "http://127.0.0.1/x",
    "https://[::1]/",
    "about:x",
)
CODINGS: Final = ("gzip", "deflate", "br", "zstd", "gzip, br", "deflate, gzip", "zstd, zstd", "br, deflate, gzip")
SMALL: Final = HeaderLimits(max_header_lines=40, max_line_bytes=400, max_header_bytes=2_000)
DECODED_BYTES: Final = 100_000

Target = Callable[[bytes], None]


def read_headers(data: bytes) -> None:
    """Split into lines with their ends, as libcurl passes them."""
    reader = HeaderReader(SMALL)
    lines = data.splitlines(keepends=True)
    for line in lines:
        before = len(reader.headers) + len(reader.trailers)
        reader.feed(line)
        if reader.violation is None and len(reader.headers) + len(reader.trailers) > before:
            _holds_its_bytes((reader.trailers or reader.headers)[-1], line.partition(b":")[2].strip(b" \t\r\n"))
    assert len(reader.headers) + len(reader.trailers) <= SMALL.max_header_lines
    assert not reader.complete or (reader.final and 100 <= reader.status_code <= 999)
    assert not reader.complete or reader.http_version.startswith("HTTP/")
    _can_be_stored((reader.reason, reader.headers, reader.trailers))
    before_more = (reader.complete, reader.headers[:], reader.trailers[:])
    if reader.violation is not None:
        reader.feed(b"A: 1\r\n")
        assert (reader.complete, reader.headers, reader.trailers) == before_more
    _can_be_stored(read_request(data))


def _holds_its_bytes(header: Header, raw: bytes) -> None:
    assert raw_value(header) == raw
    assert (header.value_base64 is None) == (charset_of(raw) == "utf-8")


def read_cookie(data: bytes) -> None:
    """The value of a Set-Cookie line. The first byte chooses the URL that sent it."""
    url, raw = URLS[data[0] % len(URLS)] if data else URLS[0], data[1:]
    cookie = parse_set_cookie(raw, url, NOW)
    assert cookie.raw.encode("latin-1" if "not_utf8" in cookie.flaws else "utf-8") == raw
    _can_be_stored(cookie)
    jar = CookieJar()
    kept = jar.receive(cookie, url, NOW)
    assert kept == (cookie.domain is not None and REFUSALS.isdisjoint(cookie.flaws))
    sent = jar.octets_for(url, NOW)
    assert sent is None or (kept and all(part in raw for part in sent.split(b"=", 1)))
    assert sent is None or not any(octet < 0x20 and octet != 0x09 for octet in sent)


def decode_body(data: bytes) -> None:
    """A coded body. The first byte chooses its codings, the second the length of the pieces that arrive."""
    if len(data) < 2:
        return
    codings = parse_codings([CODINGS[data[0] % len(CODINGS)]])
    whole = _decoded(codings, data[2:], len(data))
    assert _decoded(codings, data[2:], data[1] % 64 + 1) == whole
    assert len(whole.content) <= DECODED_BYTES
    assert whole.error in (None, "broken_coding", "truncated_coding")
    assert whole.error is None or data[2:].startswith(whole.content)


def _decoded(codings: tuple[str, ...], data: bytes, step: int) -> Decoded:
    decoder = BodyDecoder(codings, DECODED_BYTES)
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        assert decoder.held_bytes <= 3 * DECODED_BYTES
    return decoder.finish()


def read_page(data: bytes) -> None:
    """A Content-Type, a line end and a body: checks its media type, its text and its summary."""
    content_type, _, content = data.partition(b"\n")
    found = identify(content, content_type.decode("latin-1") or None)
    assert (found.charset is None) == (found.charset_source is None) == (found.encoding == "base64")
    label = content_type.decode("latin-1")
    for charset in (found.charset, label):
        if charset is not None:
            text = decode(content, charset)
            text.encode("utf-8")
            assert len(text) <= len(content)
            for media_type in ("text/html", found.media_type):
                _can_be_stored(summarize(text, URLS[0], media_type))
    assert found.charset is None or find_charset(found.charset) == found.charset


def _can_be_stored(value: object) -> None:
    """Fails when the text has a lone surrogate."""
    msgpack.encode(value)


TARGETS: Final[dict[str, Target]] = {
    "headers": read_headers,
    "cookie": read_cookie,
    "body": decode_body,
    "page": read_page,
}
