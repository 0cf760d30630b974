"""How HTTP/2 servers answer a stream, well and badly; `http2` makes cases of them."""

from __future__ import annotations

from h2.errors import ErrorCodes

from tests.odd.case import HELLO, MIB
from tests.odd.certificates import context
from tests.odd.http2_server import OK, Http2, over_h2
from tests.odd.server import Conversation, keeps_answering, whole

LARGE_BYTES = 9 * MIB
LARGE_BODIES = 24  # at once

# RFC 9113 §6: frames, and two of their flags
DATA, HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4


def normal(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.data(stream, HELLO)


def trailers(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.data(stream, HELLO, last=False)
    http2.headers(stream, [(b"digest", b"x"), (b"set-cookie", b"late=1")], last=True)


def hints(http2: Http2, stream: int) -> None:
    http2.headers(stream, [(b":status", b"103"), (b"set-cookie", b"early=1")])
    normal(http2, stream)


def cookies(http2: Http2, stream: int) -> None:
    http2.headers(stream, [*OK, *((b"set-cookie", b"c%d=x" % number) for number in range(300))])
    http2.data(stream, HELLO)


def odd_values(http2: Http2, stream: int) -> None:
    http2.headers(stream, [*OK, (b"a", b"caf\xe9"), (b"b", b"")], last=True)


def upper_case_name(http2: Http2, stream: int) -> None:
    http2.headers(stream, [*OK, (b"Upper", b"1")], last=True)


def goes_away_unanswered(http2: Http2, stream: int) -> None:
    http2.go_away(0)
    http2.conversation.wait()


def goes_away_in_error(http2: Http2, stream: int) -> None:
    http2.go_away(stream, ErrorCodes.ENHANCE_YOUR_CALM)
    http2.conversation.sock.close()


def goes_away_gracefully(http2: Http2, stream: int) -> None:
    http2.go_away(stream)
    normal(http2, stream)


def goes_away_once(http2: Http2, stream: int) -> None:
    if http2.conversation.number == 1:
        http2.go_away(0)
        http2.conversation.wait()
    normal(http2, stream)


def goes_away_in_body(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.data(stream, HELLO, last=False)
    http2.go_away(stream, ErrorCodes.INTERNAL_ERROR)
    http2.conversation.sock.close()


def resets_stream(http2: Http2, stream: int) -> None:
    http2.reset(stream)


def refuses_stream(http2: Http2, stream: int) -> None:
    http2.reset(stream, ErrorCodes.REFUSED_STREAM)


def refuses_stream_once(http2: Http2, stream: int) -> None:
    if stream == 1 and http2.conversation.number == 1:
        refuses_stream(http2, stream)
    else:
        normal(http2, stream)


def resets_in_body(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.data(stream, HELLO, last=False)
    http2.reset(stream)


def resets_after_headers(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.reset(stream)


def resets_after_body(http2: Http2, stream: int) -> None:
    """As a server may that does not want the rest of a request: RFC 9113 §8.1."""
    http2.headers(stream)
    http2.data(stream, HELLO)
    http2.frame(RST_STREAM, 0, stream, int(ErrorCodes.NO_ERROR).to_bytes(4, "big"))


def silent(http2: Http2, stream: int) -> None:
    http2.conversation.wait()


def silent_in_body(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    http2.data(stream, HELLO, last=False)
    http2.conversation.wait()


def says_a_wrong_length(http2: Http2, stream: int) -> None:
    http2.headers(stream, [*OK, (b"content-length", b"100")])
    http2.frame(DATA, END_STREAM, stream, HELLO)


def ends_without_headers(http2: Http2, stream: int) -> None:
    http2.frame(DATA, END_STREAM, stream, HELLO)


def says_no_status(http2: Http2, stream: int) -> None:
    http2.headers(stream, [(b"content-type", b"text/plain")], last=True)


def breaks_compression(http2: Http2, stream: int) -> None:
    http2.frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\xff" * 40)


def continues_for_ever(http2: Http2, stream: int) -> None:
    http2.frame(HEADERS, 0, stream, b"\x88")
    while True:
        http2.frame(CONTINUATION, 0, stream, b"\x00\x01a" + b"\x7f\x81\x7f" + b"x" * 16_384)


def repeats_a_header(http2: Http2, stream: int) -> None:
    """A value of 4,000 octets goes into the table; one octet says it again (the bomb of CVE-2016-6581)."""
    http2.headers(stream, [*OK, *[(b"a", b"x" * 4000)] * 5000], last=True)


def pings_for_ever(http2: Http2, stream: int) -> None:
    while True:
        http2.frame(PING, 0, 0, bytes(8), times=1000)


def settings_for_ever(http2: Http2, stream: int) -> None:
    while True:
        http2.frame(SETTINGS, 0, 0, b"", times=1000)


def sends_endless_body(http2: Http2, stream: int) -> None:
    http2.headers(stream)
    while True:
        while room := http2.room(stream):
            http2.data(stream, b"x" * room, last=False)
        http2.receive()


def sends_large_body(http2: Http2, stream: int) -> None:
    """As far as the client's window lets it, then on as it opens."""
    http2.headers(stream)
    left = LARGE_BYTES
    while left:
        while left and (room := http2.room(stream)):
            left -= (size := min(room, left))
            http2.data(stream, bytes(size), last=not left)
        if left:
            http2.receive()


def answers_garbage(conversation: Conversation) -> None:
    conversation.secure(context(h2=True))
    conversation.sock.recv(65536)
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    conversation.wait()


def closes_before_settings(conversation: Conversation) -> None:
    conversation.secure(context(h2=True))
    conversation.sock.recv(65536)


def speaks_http_1(conversation: Conversation) -> None:
    conversation.secure(context())
    keeps_answering(whole())(conversation)


def wants_http_1(conversation: Conversation) -> None:
    if conversation.number > 1:
        speaks_http_1(conversation)
    else:
        over_h2(lambda http2, stream: http2.reset(stream, ErrorCodes.HTTP_1_1_REQUIRED))(conversation)
