"""Where a body ends: lengths, chunks, trailers, and bodies where none belongs."""

from __future__ import annotations

from metadata_inventory.model.capture import FailureCode
from tests.odd.case import HELLO, Case, failure, page
from tests.odd.server import Conversation, answers, keeps_answering, whole

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def lengths(*values: bytes) -> bytes:
    return OK + b"".join(b"Content-Length: " + value + b"\r\n" for value in values) + b"\r\n"


CASES = (
    Case(
        name="length-twice",
        does="sends the same Content-Length twice",
        says="the page, and both lines",
        serve=answers(lengths(b"5", b"5"), HELLO),
        expect=page(names=["Content-Length"] * 2, body=HELLO),
    ),
    Case(
        name="lengths-in-conflict",
        does="sends two different Content-Lengths",
        says="not acceptable: it is not known where the body ends",
        serve=answers(lengths(b"5", b"2"), HELLO),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, headers=[("Content-Length", "5")]),
    ),
    Case(
        name="length-list",
        does="sends `Content-Length: 5, 5`",
        says="the page",
        serve=answers(lengths(b"5, 5"), HELLO),
        expect=page(body=HELLO),
    ),
    Case(
        name="length-negative",
        does="sends a negative Content-Length",
        says="not acceptable",
        serve=answers(lengths(b"-5"), HELLO),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=[]),
    ),
    Case(
        name="length-not-a-number",
        does="sends `Content-Length: five`",
        says="not acceptable",
        serve=answers(lengths(b"five"), HELLO),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=[]),
    ),
    Case(
        name="length-over-64-bits",
        does="sends a Content-Length over 64 bits",
        says="the body as far as it came",
        serve=answers(lengths(b"99999999999999999999999"), HELLO),
        expect=page(body=HELLO),
    ),
    Case(
        name="length-of-an-exabyte",
        does="sends a Content-Length of 1 EB and sends 5 bytes",
        says="`disconnect`, and what came",
        serve=answers(lengths(b"1000000000000000000"), HELLO),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="body-too-short",
        does="closes before the body has its length",
        says="`disconnect`, and what came",
        serve=answers(lengths(b"100"), HELLO),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="body-too-long",
        does="sends more than its Content-Length",
        says="the body up to its length",
        serve=answers(lengths(b"5"), HELLO + b" and more", then=Conversation.wait),
        expect=page(body=HELLO),
    ),
    Case(
        name="second-response-unasked",
        does="sends a second response behind the first, and is collected again",
        says="each collection has the response to its own request",
        serve=keeps_answering(whole() + whole(status=b"500 Smuggled", body=b"wrong")),
        before=("/first",),
        expect=page(status=200, body=HELLO),
    ),
    Case(
        name="length-and-chunks",
        does="sends both a Content-Length and chunked",
        says="the chunks' body (RFC 9112 §6.3)",
        serve=answers(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        expect=page(body=HELLO),
    ),
    Case(
        name="chunked-in-http-1.0",
        does="sends chunks in HTTP/1.0",
        says="the chunks' body",
        serve=answers(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        expect=page(version="HTTP/1.0", body=HELLO),
    ),
    Case(
        name="transfer-coding-gzip",
        does="sends chunks with the transfer coding gzip, for which nobody asked",
        says="not acceptable: libcurl refuses it",
        serve=answers(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=[]),
    ),
    Case(
        name="transfer-coding-unknown",
        does="sends an unknown transfer coding",
        says="not acceptable: libcurl refuses it",
        serve=answers(OK + b"Transfer-Encoding: zigzag\r\n\r\nhello"),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200, names=[]),
    ),
    Case(
        name="trailers-with-cookie",
        does="sends trailers, a Set-Cookie among them",
        says="the page; trailers are neither headers nor cookies",
        serve=answers(CHUNKED, b"5\r\nhello\r\n0\r\nDigest: x\r\nSet-Cookie: late=1\r\n\r\n"),
        expect=page(names=["Transfer-Encoding"], cookies=[], body=HELLO),
    ),
    Case(
        name="trailers-for-ever",
        does="sends trailers without end",
        says="the page; the transfer is ended at the limit of header lines, `disconnect`",
        serve=answers(CHUNKED, b"5\r\nhello\r\n0\r\n", then=lambda conversation: conversation.fill(b"A: 1\r\n")),
        expect=page(names=["Transfer-Encoding"], truncated="disconnect", body=HELLO),
    ),
    Case(
        name="trailer-without-colon",
        does="sends a trailer without a colon",
        says="the page; `disconnect`",
        serve=answers(CHUNKED, b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="chunk-cut-off",
        does="closes inside a chunk",
        says="`disconnect`, and what came",
        serve=answers(CHUNKED, b"5\r\nhello\r\n20\r\nand"),
        expect=page(truncated="disconnect", body=b"helloand"),
    ),
    Case(
        name="no-last-chunk",
        does="closes after a chunk, without the last one",
        says="`disconnect`, and what came",
        serve=answers(CHUNKED, b"5\r\nhello\r\n"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="no-empty-line-after-last-chunk",
        does="closes right after the last chunk's line",
        says="`disconnect`, and what came",
        serve=answers(CHUNKED, b"5\r\nhello\r\n0\r\n"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="chunk-size-not-hex",
        does="sends a chunk size that is no number",
        says="`disconnect`, and what came before it",
        serve=answers(CHUNKED, b"5\r\nhello\r\nzz\r\n"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="chunk-size-over-64-bits",
        does="sends a chunk size over 64 bits",
        says="`disconnect`, and what came before it",
        serve=answers(CHUNKED, b"5\r\nhello\r\nfffffffffffffffff\r\nhello"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="chunk-longer-than-said",
        does="sends more in a chunk than its size",
        says="`disconnect`, and what the size covers",
        serve=answers(CHUNKED, b"5\r\nhello and more\r\n0\r\n\r\n"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="chunk-extensions",
        does="sends chunk extensions, quoted and long",
        says="the page",
        serve=answers(CHUNKED, b'5;a="b;c";' + b"x" * 5000 + b"\r\nhello\r\n0;last\r\n\r\n"),
        expect=page(body=HELLO),
    ),
    Case(
        name="chunk-extension-for-ever",
        does="sends a chunk extension without end",
        says="`time`: no byte of the body came until the deadline",
        serve=answers(CHUNKED, b"5;", then=lambda conversation: conversation.fill(b"x" * 4096)),
        deadline_ms=500,
        waits=True,
        expect=page(truncated="time", body=b""),
    ),
    Case(
        name="chunks-of-one-byte",
        does="sends 20,000 chunks of one byte each",
        says="the page",
        serve=answers(CHUNKED, b"1\r\nx\r\n" * 20_000, b"0\r\n\r\n"),
        expect=page(length=20_000),
    ),
    Case(
        name="chunks-with-bare-lf",
        does="ends its chunk lines with LF alone",
        says="the page",
        serve=answers(CHUNKED, b"5\nhello\n0\n\n"),
        expect=page(body=HELLO),
    ),
    Case(
        name="no-content-with-body",
        does="responds with 204 and a body",
        says="an empty body: 204 has none",
        serve=answers(whole(status=b"204 No Content"), then=Conversation.wait),
        expect=page(status=204, names=["Content-Length"], body=b""),
    ),
    Case(
        name="reset-content-with-body",
        does="responds with 205 and a body",
        says="the body: RFC 9110 forbids it, but it is framed like any other",
        serve=answers(whole(status=b"205 Reset Content"), then=Conversation.wait),
        expect=page(status=205, body=HELLO),
    ),
    Case(
        name="not-modified-with-body",
        does="responds with 304, for which nobody asked, and a body",
        says="an empty body: 304 has none",
        serve=answers(whole(status=b"304 Not Modified"), then=Conversation.wait),
        expect=page(status=304, names=["Content-Length"], body=b""),
    ),
    Case(
        name="head-like-then-close",
        does="responds to GET as to HEAD, with a length and no body, and closes",
        says="`disconnect`, an empty body",
        serve=answers(lengths(b"1234")),
        expect=page(truncated="disconnect", body=b""),
    ),
    Case(
        name="head-like-then-wait",
        does="responds to GET as to HEAD, with a length and no body, and stays open",
        says="`time`, an empty body",
        serve=answers(lengths(b"1234"), then=Conversation.wait),
        deadline_ms=400,
        waits=True,
        expect=page(truncated="time", body=b""),
    ),
    Case(
        name="empty-page",
        does="responds with an empty body",
        says="an empty body, whole",
        serve=answers(whole(body=b"")),
        expect=page(body=b""),
    ),
    Case(
        name="no-length-stays-open",
        does="sends a body without length or chunks and stays open",
        says="`time`, and what came: only closing would end it",
        serve=answers(OK + b"\r\n" + HELLO, then=Conversation.wait),
        deadline_ms=400,
        waits=True,
        expect=page(truncated="time", body=HELLO),
    ),
)
