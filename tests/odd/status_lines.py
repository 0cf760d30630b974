"""What comes before the header lines: status lines, informational responses, and what is no HTTP at all."""

from __future__ import annotations

from metadata_inventory.model.capture import FailureCode
from tests.odd.case import HELLO, Case, failure, page
from tests.odd.server import Conversation, answers, whole

HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def never_final(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(HINT)
    conversation.wait()


CASES = (
    Case(
        name="continue-before-response",
        does="sends `100 Continue`, for which nobody asked, before the response",
        says="the response alone",
        serve=answers(b"HTTP/1.1 100 Continue\r\n\r\n", whole()),
        expect=page(names=["Content-Length"], body=HELLO),
    ),
    Case(
        name="early-hints-with-cookie",
        does="sends `103 Early Hints` with `Link` and `Set-Cookie` before the response",
        says="the response alone; the cookie of a 1xx response is not part of it",
        serve=answers(HINT, b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: early=1\r\n\r\n", whole(b"Set-Cookie: late=1")),
        expect=page(names=["Set-Cookie", "Content-Length"], cookies=[("late", "1")], body=HELLO),
    ),
    Case(
        name="early-hints-500",
        does="sends `103` 500 times, then the response",
        says="the response alone",
        serve=answers(HINT * 500, whole()),
        expect=page(names=["Content-Length"], body=HELLO),
    ),
    Case(
        name="early-hints-1000",
        does="sends `103` 1,000 times, then the response",
        says="over the limit of 2,000 header lines, in which 1xx responses count; a 1xx is not shown as the response",
        serve=answers(HINT * 1000, whole()),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR, headers=[]),
    ),
    Case(
        name="early-hints-for-ever",
        does="sends `103` and then nothing",
        says="a time-out: no final headers came",
        serve=never_final,
        deadline_ms=400,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT),
    ),
    Case(
        name="early-hints-then-close",
        does="sends `103` and closes",
        says="the connection ended before the final headers",
        serve=answers(HINT),
        expect=failure(FailureCode.CONNECTION_TERMINATED),
    ),
    Case(
        name="unknown-informational",
        does="sends `199` before the response",
        says="the response alone",
        serve=answers(b"HTTP/1.1 199 Whatever\r\nA: 1\r\n\r\n", whole()),
        expect=page(names=["Content-Length"], body=HELLO),
    ),
    Case(
        name="switching-protocols",
        does="responds with `101` without having been asked, and speaks something else",
        says="status 101 and an empty body: HTTP ends with that response",
        serve=answers(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\0\1\2", then=Conversation.wait),
        expect=page(status=101, names=["Upgrade"], body=b""),
    ),
    Case(
        name="no-reason-phrase",
        does="sends `HTTP/1.1 200`, with neither a reason nor the space before it",
        says="an empty reason",
        serve=answers(whole(status=b"200")),
        expect=page(reason="", body=HELLO),
    ),
    Case(
        name="empty-reason-phrase",
        does="sends `HTTP/1.1 200 ` with the space and no reason",
        says="an empty reason",
        serve=answers(whole(status=b"200 ")),
        expect=page(reason="", body=HELLO),
    ),
    Case(
        name="reason-phrase-not-utf8",
        does="has bytes in the reason that are not UTF-8",
        says="the reason read as ISO-8859-1",
        serve=answers(whole(status=b"200 Tr\xe8s bien")),
        expect=page(reason="Très bien", body=HELLO),
    ),
    Case(
        name="unregistered-status",
        does="responds with status 999",
        says="status 999: it is what the server sent",
        serve=answers(whole(status=b"999 Request denied")),
        expect=page(status=999, reason="Request denied", body=HELLO),
    ),
    Case(
        name="status-below-100",
        does="responds with status 099",
        says="no HTTP",
        serve=answers(whole(status=b"099 Low")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="status-of-four-digits",
        does="responds with status 2000",
        says="no HTTP",
        serve=answers(whole(status=b"2000 Long")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="status-not-a-number",
        does="responds with status `OK`",
        says="no HTTP",
        serve=answers(b"HTTP/1.1 OK 200\r\nContent-Length: 5\r\n\r\nhello"),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="http-1.0",
        does="responds with HTTP/1.0 and closes",
        says="version HTTP/1.0, the whole body",
        serve=answers(whole(version=b"HTTP/1.0", length=False)),
        expect=page(version="HTTP/1.0", body=HELLO),
    ),
    Case(
        name="http-1.0-keep-alive",
        does="responds with HTTP/1.0, `Connection: keep-alive`, and stays open",
        says="version HTTP/1.0; the body ends at its length",
        serve=answers(whole(b"Connection: keep-alive", version=b"HTTP/1.0"), then=Conversation.wait),
        expect=page(version="HTTP/1.0", body=HELLO),
    ),
    Case(
        name="http-1.2",
        does="sends its response as HTTP/1.2",
        says="no HTTP: libcurl knows no such version",
        serve=answers(whole(version=b"HTTP/1.2")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="http-2-in-plain-text",
        does="sends its response in plain text as HTTP/2",
        says="libcurl does not accept it as HTTP/1",
        serve=answers(whole(version=b"HTTP/2")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="http-0.9",
        does="sends a page without status line and headers",
        says="no HTTP: HTTP/0.9 is not accepted, as in browsers",
        serve=answers(b"<html><body>Hello from 1991</body></html>"),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="icy-stream",
        does="begins with `ICY 200 OK`, as old radio streams do",
        says="no HTTP",
        serve=answers(b"ICY 200 OK\r\nicy-name: radio\r\n\r\nnoise"),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="another-protocol",
        does="greets as an SSH server does and waits",
        says="no HTTP, found without waiting for the deadline",
        serve=answers(b"SSH-2.0-OpenSSH_9.9\r\n", then=Conversation.wait),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="binary-noise",
        does="responds with meaningless bytes",
        says="no HTTP",
        serve=answers(bytes(range(256)) * 8),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="blank-lines-before-response",
        does="sends empty lines before the status line",
        says="no HTTP: libcurl skips no empty line",
        serve=answers(b"\r\n\r\n" + whole()),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="spaces-in-status-line",
        does="puts several spaces between version and status",
        says="no HTTP: libcurl accepts one space only",
        serve=answers(whole(status=b"   200   OK")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="status-line-then-close",
        does="closes after the status line",
        says="the response ended inside its headers",
        serve=answers(b"HTTP/1.1 200 OK\r\n"),
        expect=failure(FailureCode.HTTP_RESPONSE_INCOMPLETE),
    ),
    Case(
        name="half-a-status-line",
        does="closes inside the status line",
        says="the connection ended: libcurl reports nothing before the first whole line",
        serve=answers(b"HTTP/1.1 2"),
        expect=failure(FailureCode.CONNECTION_TERMINATED),
    ),
)
