"""Connections: closed, reset or silent at each stage, and many at once."""

from __future__ import annotations

import random
import threading
import time

from metadata_inventory.model.capture import FailureCode, Outcome
from tests.odd.case import HELLO, MIB, Case, failure, page
from tests.odd.server import PATIENCE_S, Conversation, OddServer, Serve, answers, keeps_answering, whole

NOISE = random.Random(1).randbytes(4 * MIB)
BUDGET_MIB = 16
PEERS = 12


def closes_at_once(conversation: Conversation) -> None:
    """Without reading."""


def resets_without_reading(conversation: Conversation) -> None:
    """Not at once: a reset that comes while libcurl is still connecting is a refused connection to it."""
    time.sleep(0.05)
    conversation.reset()


def resets_after(sent: bytes) -> Serve:
    def serve(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(sent)
        time.sleep(0.05)  # so that the bytes are read before the reset throws them away
        conversation.reset()

    return serve


def answers_once_a_connection(conversation: Conversation) -> None:
    """Says keep-alive and closes all the same, when nobody looks."""
    conversation.read_request()
    conversation.send(whole())


def answers_all_at_once() -> Serve:
    """Nobody is answered before everybody has asked; then come bodies over what is kept of one."""
    everybody = threading.Barrier(PEERS)

    def serve(conversation: Conversation) -> None:
        conversation.read_request()
        everybody.wait(PATIENCE_S)
        conversation.send(whole(body=b"x" * 5000))
        conversation.wait()

    return serve


def used_two_connections(outcome: Outcome, server: OddServer) -> None:
    assert len(server.conversations) == 2


def drops_requests_on_used_connections(conversation: Conversation) -> None:
    conversation.read_request()
    if conversation.number == 1:
        conversation.send(whole())
        conversation.read_request()
    else:
        conversation.send(whole(body=b"second"))


def answers_without_reading(conversation: Conversation) -> None:
    conversation.send(whole())
    conversation.read_request()


def never_reads(conversation: Conversation) -> None:
    time.sleep(0.6)  # longer than its deadline


CASES = (
    Case(
        name="close-on-accept",
        does="closes every connection as soon as it is made",
        says="the connection ended before the response",
        serve=closes_at_once,
        expect=failure(FailureCode.CONNECTION_TERMINATED),
    ),
    Case(
        name="reset-without-reading",
        does="resets every connection without having read the request",
        says="the connection ended before the response",
        serve=resets_without_reading,
        expect=failure(FailureCode.CONNECTION_TERMINATED),
    ),
    Case(
        name="close-after-request",
        does="reads the request and closes",
        says="the connection ended before the response",
        serve=answers(),
        expect=failure(FailureCode.CONNECTION_TERMINATED, asked=True),
    ),
    Case(
        name="reset-after-request",
        does="reads the request and resets",
        says="the connection ended before the response",
        serve=resets_after(b""),
        expect=failure(FailureCode.CONNECTION_TERMINATED, asked=True),
    ),
    Case(
        name="reset-in-status-line",
        does="resets inside the status line",
        says="the connection ended before the headers were complete",
        serve=resets_after(b"HTTP/1.1 20"),
        expect=failure(FailureCode.CONNECTION_TERMINATED, asked=True),
    ),
    Case(
        name="reset-in-headers",
        does="resets inside the headers",
        says="the connection ended before the headers were complete",
        serve=resets_after(b"HTTP/1.1 200 OK\r\nA: 1\r\n"),
        expect=failure(FailureCode.CONNECTION_TERMINATED, asked=True),
    ),
    Case(
        name="reset-after-headers",
        does="resets after the headers, before the body",
        says="`disconnect`, an empty body",
        serve=resets_after(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        expect=page(truncated="disconnect", body=b""),
    ),
    Case(
        name="reset-after-body",
        does="resets after the whole body",
        says="the page",
        serve=resets_after(whole()),
        expect=page(body=HELLO),
    ),
    Case(
        name="reset-ends-body-without-length",
        does="ends a body without a length by a reset",
        says="`disconnect`, and what came: it is not known whether that was all",
        serve=resets_after(b"HTTP/1.1 200 OK\r\n\r\nhello"),
        expect=page(truncated="disconnect", body=HELLO),
    ),
    Case(
        name="silence",
        does="reads the request and says nothing",
        says="a time-out of the response",
        serve=answers(then=Conversation.wait),
        deadline_ms=400,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT, asked=True),
    ),
    Case(
        name="never-reads",
        does="accepts and reads nothing",
        says="a time-out of the response",
        serve=never_reads,
        deadline_ms=400,
        waits=True,
        expect=failure(FailureCode.HTTP_RESPONSE_TIMEOUT, asked=True),
    ),
    Case(
        name="answer-before-request",
        does="responds before it has read the request",
        says="the page",
        serve=answers_without_reading,
        expect=page(body=HELLO),
    ),
    Case(
        name="keep-alive-that-closes",
        does="closes a connection that it had promised to keep",
        says="the page: the request is repeated on a new connection",
        serve=answers_once_a_connection,
        before=("/first",),
        expect=page(used_two_connections, body=HELLO),
    ),
    Case(
        name="second-request-dropped",
        does="reads a second request on its connection and closes instead of responding",
        says="the page: libcurl repeats the request once, on a new connection",
        serve=drops_requests_on_used_connections,
        before=("/first",),
        expect=page(used_two_connections, body=b"second"),
    ),
    Case(
        name="reused-connection",
        does="responds to a second collection on the first one's connection",
        says="the page, with the server's address as on the first",
        serve=keeps_answering(whole()),
        before=("/first",),
        expect=page(reached=True, body=HELLO),
    ),
    Case(
        name="tls-alert-in-plain-text",
        does="responds to a request in plain text with a TLS alert",
        says="no HTTP",
        serve=answers(bytes.fromhex("15030100020246")),
        expect=failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    Case(
        name="lane-full-of-large-bodies",
        does="sends 4 MiB to each of 24 collections at once",
        says="every page whole, while the lane process holds no more than its body budget",
        serve=keeps_answering(whole(body=NOISE)),
        at_once=24,
        deadline_ms=15_000,
        options={"lane_body_bytes": BUDGET_MIB * MIB},
        grows_mib=BUDGET_MIB + 48,
        expect=page(length=4 * MIB),
    ),
    Case(
        name="lane-without-room",
        does="responds to 12 collections at once with bodies over their limit, while the body budget is used up",
        says="`length` on every one of them: bytes that wait while a transfer is paused are cut off too",
        serve=answers_all_at_once(),
        at_once=PEERS,
        options={"lane_body_bytes": 1, "max_body_bytes": 1000},
        expect=page(truncated="length", length=1000),
    ),
    Case(
        name="lane-full-of-endless-bodies",
        does="sends 24 collections bodies without end, all at once",
        says="`length` on every one of them",
        serve=answers(b"HTTP/1.1 200 OK\r\n\r\n", then=lambda conversation: conversation.fill(NOISE)),
        at_once=24,
        deadline_ms=15_000,
        options={"lane_body_bytes": BUDGET_MIB * MIB, "max_body_bytes": 3 * MIB},
        grows_mib=BUDGET_MIB + 48,
        expect=page(truncated="length", length=3 * MIB),
    ),
)
