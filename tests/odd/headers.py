"""Header lines: what bytes they hold, how they end, and how many they are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from metadata_inventory.model.capture import FailureCode, Header, Outcome
from tests.odd.case import HELLO, Case, failure, page
from tests.odd.server import Conversation, OddServer, answers, whole

OK = b"HTTP/1.1 200 OK\r\n"
END = b"Content-Length: 5\r\n\r\nhello"


def is_kept(header: Header) -> Callable[[Outcome, OddServer], None]:
    """The response has this line, to the letter."""

    def check(outcome: Outcome, server: OddServer) -> None:
        response = outcome.exchanges[-1].response
        assert response is not None
        assert header in response.headers

    return check


CASES = (
    Case(
        name="folded-line",
        does="continues a header on the next line (obs-fold)",
        says="one line, joined by one space: libcurl does it, and the original line is lost",
        serve=answers(OK + b"A: one\r\n   two\r\n\tthree\r\n" + END),
        expect=page(headers=[("A", "one two three"), ("Content-Length", "5")], body=HELLO),
    ),
    Case(
        name="folded-first-line",
        does="begins its header lines with a folded one",
        says="not acceptable: there is nothing to join it to",
        serve=answers(OK + b" lost\r\n" + END),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=[]),
    ),
    Case(
        name="header-not-utf8",
        does="has a value that is not UTF-8",
        says="the value as ISO-8859-1, its bytes in `value_base64`",
        serve=answers(whole(b"A: caf\xe9 \xff\xfe")),
        expect=page(is_kept(Header("A", "café ÿþ", b64encode(b"caf\xe9 \xff\xfe").decode()))),
    ),
    Case(
        name="header-utf8",
        does="has a value in UTF-8, outside of ASCII",
        says="the value as text, no `value_base64`",
        serve=answers(whole("A: café ☃".encode())),
        expect=page(is_kept(Header("A", "café ☃"))),
    ),
    Case(
        name="header-name-not-ascii",
        does="has bytes beyond ASCII in a header's name",
        says="the name read as ISO-8859-1",
        serve=answers(whole(b"N\xe4me: 1")),
        expect=page(is_kept(Header("Näme", "1"))),
    ),
    Case(
        name="control-characters",
        does="has control characters, such as escape and delete, in a value",
        says="the value as it came",
        serve=answers(whole(b"A: \x01\x1b[31m\x7f")),
        expect=page(is_kept(Header("A", "\x01\x1b[31m\x7f"))),
    ),
    Case(
        name="nul-in-header",
        does="has a NUL in a value",
        says="not acceptable: libcurl refuses the line; what came before it is shown",
        serve=answers(whole(b"Before: 1", b"A: x\0y")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="cr-in-header",
        does="has a CR inside a value",
        says="not acceptable: libcurl refuses the line; what came before it is shown",
        serve=answers(whole(b"Before: 1", b"A: x\ry")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="bare-lf",
        does="ends its lines with LF alone",
        says="the page",
        serve=answers(whole(b"A: 1").replace(b"\r\n", b"\n")),
        expect=page(headers=[("A", "1"), ("Content-Length", "5")], body=HELLO),
    ),
    Case(
        name="cr-cr-lf",
        does="ends a line with CR CR LF",
        says="not acceptable",
        serve=answers(whole(b"A: 1\r")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200),
    ),
    Case(
        name="line-without-colon",
        does="has a header line without a colon",
        says="not acceptable; what came before it is shown",
        serve=answers(whole(b"Before: 1", b"no colon here")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="line-without-name",
        does="has a header line that begins with the colon",
        says="not acceptable; what came before it is shown",
        serve=answers(whole(b"Before: 1", b": value")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="space-before-colon",
        does="has a space between a header's name and its colon",
        says="the header, its name without the space",
        serve=answers(whole(b"Spaced : 1")),
        expect=page(is_kept(Header("Spaced", "1"))),
    ),
    Case(
        name="odd-header-name",
        does="has spaces, quotes and brackets in a header's name",
        says="the name as it came",
        serve=answers(whole(b'Odd "name" (here){}: 1')),
        expect=page(is_kept(Header('Odd "name" (here){}', "1"))),
    ),
    Case(
        name="empty-values",
        does="has headers with no value, or spaces alone",
        says="the headers, their values empty",
        serve=answers(whole(b"A:", b"B:    ", b"C: \t")),
        expect=page(headers=[("A", ""), ("B", ""), ("C", ""), ("Content-Length", "5")]),
    ),
    Case(
        name="repeated-headers",
        does="repeats headers, with different case and with the same value",
        says="every line, in its order and spelling",
        serve=answers(whole(b"Via: a", b"VIA: b", b"X: 1", b"via: a", b"via: a")),
        expect=page(names=["Via", "VIA", "X", "via", "via", "Content-Length"]),
    ),
    Case(
        name="names-of-fields",
        does="names headers as a database would not like them: `$where`, `a.b`, `__proto__`, `_id`",
        says="the headers as they came",
        serve=answers(whole(b"$where: $$ROOT", b"a.b: $x", b"__proto__: 1", b"_id: 2")),
        expect=page(names=["$where", "a.b", "__proto__", "_id", "Content-Length"]),
    ),
    Case(
        name="headers-1900",
        does="sends 1,900 header lines",
        says="all of them",
        serve=answers(whole(*[b"A: 1"] * 1900)),
        expect=page(header_count=1901, body=HELLO),
    ),
    Case(
        name="headers-5000",
        does="sends 5,000 header lines",
        says="over the limit of 2,000 lines; those before it are shown (libcurl's own limit is 5,000)",
        serve=answers(whole(*[b"A: 1"] * 5000)),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, header_count=1999),
    ),
    Case(
        name="headers-for-ever",
        does="sends header lines without end",
        says="over the limit; the transfer is ended there",
        serve=answers(OK, then=lambda conversation: conversation.fill(b"A: " + b"x" * 50 + b"\r\n")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, header_count=1999),
    ),
    Case(
        name="headers-200-kib",
        does="sends 200 KiB of headers in lines of 1 KiB",
        says="all of them",
        serve=answers(whole(*[b"A: " + b"x" * 1019] * 200)),
        expect=page(header_count=201, body=HELLO),
    ),
    Case(
        name="headers-300-kib",
        does="sends 300 KiB of headers in lines of 1 KiB",
        says="over the limit of 256 KiB; those before it are shown (libcurl's own limit is 300 KiB)",
        serve=answers(whole(*[b"A: " + b"x" * 1019] * 300)),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, header_count=255),
    ),
    Case(
        name="line-of-60-kib",
        does="sends one header line of 60 KiB",
        says="the line, whole",
        serve=answers(whole(b"A: " + b"x" * 60 * 1024)),
        expect=page(is_kept(Header("A", "x" * 60 * 1024))),
    ),
    Case(
        name="line-of-90-kib",
        does="sends one header line of 90 KiB",
        says="over the limit of 64 KiB a line; those before it are shown",
        serve=answers(whole(b"Before: 1", b"A: " + b"x" * 90 * 1024)),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="line-of-1-mib",
        does="sends one header line of 1 MiB",
        says="libcurl gives up at about 100 KiB a line; those before it are shown",
        serve=answers(whole(b"Before: 1", b"A: " + b"x" * 1024 * 1024)),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="line-for-ever",
        does="sends one header line without end",
        says="libcurl gives up at about 100 KiB a line; those before it are shown",
        serve=answers(OK + b"Before: 1\r\nA: ", then=lambda conversation: conversation.fill(b"x" * 65536)),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=["Before"]),
    ),
    Case(
        name="no-empty-line",
        does="closes after the header lines, without the empty line",
        says="the response ended inside its headers (libcurl calls it a success)",
        serve=answers(OK + b"Content-Length: 0\r\n"),
        expect=failure(FailureCode.HTTP_RESPONSE_INCOMPLETE),
    ),
    Case(
        name="half-a-header-line",
        does="closes inside a header line",
        says="the response ended inside its headers",
        serve=answers(OK + b"Content-Le"),
        expect=failure(FailureCode.HTTP_RESPONSE_INCOMPLETE),
    ),
    Case(
        name="drip-in-headers",
        does="sends its headers byte by byte and is never done",
        says="a time-out at the deadline",
        serve=answers(OK, then=lambda conversation: conversation.drip(b"A: 1\r\n" * 1000, 0.01)),
        deadline_ms=500,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT),
    ),
    Case(
        name="stall-in-headers",
        does="stops inside its headers and stays open",
        says="a time-out at the deadline",
        serve=answers(OK + b"A: 1\r\n", then=Conversation.wait),
        deadline_ms=400,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT),
    ),
)
