"""HTTP/2: what its frames can do that HTTP/1 cannot."""

from __future__ import annotations

from metadata_inventory.model.capture import FailureCode, Outcome
from tests.odd import http2_answers as answer
from tests.odd.case import HELLO, MIB, Case, Expected, failure, page
from tests.odd.http2_server import over_h2
from tests.odd.server import OddServer, Serve


def http2(name: str, does: str, says: str, serve: Serve, expect: Expected, **rest: object) -> Case:
    return Case(name=name, does=does, says=says, serve=serve, scheme="https", trusting=True, expect=expect, **rest)  # type: ignore[arg-type]


def asked_twice_at_most(outcome: Outcome, server: OddServer) -> None:
    assert sum(len(conversation.paths) for conversation in server.conversations) <= 2


CASES = (
    http2(
        "h2-page",
        "responds over HTTP/2",
        "the page, version HTTP/2, ALPN h2, an empty reason",
        over_h2(answer.normal),
        page(version="HTTP/2", reason="", alpn="h2", names=["content-type"], verified=True, certified=True, body=HELLO),
    ),
    http2(
        "h2-reused-connection",
        "responds to a second collection on the first one's connection",
        "the page, with the same TLS parameters and address as on the first",
        over_h2(answer.normal),
        page(version="HTTP/2", alpn="h2", verified=True, certified=True, reached=True, body=HELLO),
        before=("/first",),
    ),
    http2(
        "h2-not-spoken",
        "does not choose HTTP/2 when it is offered",
        "the page over HTTP/1.1",
        answer.speaks_http_1,
        page(version="HTTP/1.1", alpn=None, body=HELLO),
    ),
    http2(
        "h2-wants-http-1",
        "resets the stream with HTTP_1_1_REQUIRED",
        "the page over HTTP/1.1",
        answer.wants_http_1,
        page(version="HTTP/1.1", body=HELLO),
    ),
    http2(
        "h2-trailers-with-cookie",
        "sends trailers, a Set-Cookie among them",
        "the page; trailers are neither headers nor cookies",
        over_h2(answer.trailers),
        page(names=["content-type"], cookies=[], body=HELLO),
    ),
    http2(
        "h2-early-hints",
        "sends `103` with a Set-Cookie before the response",
        "the response alone",
        over_h2(answer.hints),
        page(names=["content-type"], cookies=[], body=HELLO),
    ),
    http2(
        "h2-cookies-300",
        "sets 300 cookies in one response",
        "300 of them",
        over_h2(answer.cookies),
        page(cookie_count=300, body=HELLO),
    ),
    http2(
        "h2-goaway-always",
        "responds to every request with GOAWAY alone",
        "the connection ended; libcurl may repeat the request once, not six times",
        over_h2(answer.goes_away_unanswered),
        failure(FailureCode.CONNECTION_TERMINATED, asked_twice_at_most),
    ),
    http2(
        "h2-goaway-once",
        "responds to the first request with GOAWAY, the repeated one with a page",
        "the page",
        over_h2(answer.goes_away_once),
        page(asked_twice_at_most, body=HELLO),
    ),
    http2(
        "h2-goaway-in-error",
        "sends GOAWAY with an error and closes",
        "the connection ended",
        over_h2(answer.goes_away_in_error),
        failure(FailureCode.CONNECTION_TERMINATED),
    ),
    http2(
        "h2-goaway-gracefully",
        "sends GOAWAY and completes what it has accepted",
        "the page",
        over_h2(answer.goes_away_gracefully),
        page(body=HELLO),
    ),
    http2(
        "h2-goaway-in-body",
        "sends GOAWAY with an error inside the body and closes",
        "`disconnect`, and what came",
        over_h2(answer.goes_away_in_body),
        page(truncated="disconnect", body=HELLO),
    ),
    http2(
        "h2-reset-stream",
        "resets the stream before the headers",
        "the connection ended: each stream has a connection of its own",
        over_h2(answer.resets_stream),
        failure(FailureCode.CONNECTION_TERMINATED, alpn="h2", certified=True),
    ),
    http2(
        "h2-refuse-stream-always",
        "refuses every stream",
        "the connection ended; libcurl repeats the request once, not more",
        over_h2(answer.refuses_stream),
        failure(FailureCode.CONNECTION_TERMINATED),
    ),
    http2(
        "h2-refuse-stream-once",
        "refuses the first stream and responds to the repeated one",
        "the page",
        over_h2(answer.refuses_stream_once),
        page(body=HELLO),
    ),
    http2(
        "h2-reset-after-headers",
        "resets the stream after the headers",
        "`disconnect`, an empty body",
        over_h2(answer.resets_after_headers),
        page(truncated="disconnect", body=b""),
    ),
    http2(
        "h2-reset-in-body",
        "resets the stream inside the body",
        "`disconnect`, and what came",
        over_h2(answer.resets_in_body),
        page(truncated="disconnect", body=HELLO),
    ),
    http2(
        "h2-reset-after-body",
        "resets the stream with NO_ERROR after the whole body",
        "the page",
        over_h2(answer.resets_after_body),
        page(body=HELLO),
    ),
    http2(
        "h2-silence",
        "does not respond to the request",
        "a time-out of the response",
        over_h2(answer.silent),
        failure(FailureCode.HTTP_RESPONSE_TIMEOUT, asked=True, alpn="h2"),
        deadline_ms=500,
        waits=True,
    ),
    http2(
        "h2-silence-in-body",
        "stops inside the body",
        "`time`, and what came",
        over_h2(answer.silent_in_body),
        page(truncated="time", body=HELLO),
        deadline_ms=500,
        waits=True,
    ),
    http2(
        "h2-body-without-end",
        "sends a body without end",
        "`length`, as much as is kept",
        over_h2(answer.sends_endless_body),
        page(truncated="length", length=1_000_000),
        options={"max_body_bytes": 1_000_000},
    ),
    http2(
        "h2-lane-full-of-large-bodies",
        "sends 9 MiB to each of 24 collections at once",
        "every page whole, and the lane process within its body budget: each has its own connection to pause",
        over_h2(answer.sends_large_body),
        page(length=answer.LARGE_BYTES, alpn="h2"),
        before=("/first",),
        at_once=answer.LARGE_BODIES,
        deadline_ms=20_000,
        options={"lane_body_bytes": 8 * MIB},
        grows_mib=64,
    ),
    http2(
        "h2-wrong-length",
        "sends a content-length of 100 and ends the stream after 5 bytes",
        "`disconnect`, and what came",
        over_h2(answer.says_a_wrong_length),
        page(truncated="disconnect", body=HELLO),
    ),
    http2(
        "h2-body-without-headers",
        "sends a body without headers",
        "no HTTP",
        over_h2(answer.ends_without_headers),
        failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    http2(
        "h2-no-status",
        "sends headers without a status",
        "no HTTP",
        over_h2(answer.says_no_status),
        failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    http2(
        "h2-odd-values",
        "sends a value that is not UTF-8, and an empty one",
        "both as they came",
        over_h2(answer.odd_values),
        page(headers=[("content-type", "text/plain"), ("a", "café"), ("b", "")]),
    ),
    http2(
        "h2-name-in-upper-case",
        "sends a header name in upper case, which HTTP/2 forbids",
        "the connection ended: nghttp2 resets the stream, and libcurl does not tell who did",
        over_h2(answer.upper_case_name),
        failure(FailureCode.CONNECTION_TERMINATED),
    ),
    http2(
        "h2-broken-compression",
        "sends header compression that cannot be decoded",
        "no HTTP",
        over_h2(answer.breaks_compression),
        failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    http2(
        "h2-headers-for-ever",
        "continues a header block without end",
        "the connection ended: nghttp2 gives up, and libcurl tells no other reason",
        over_h2(answer.continues_for_ever),
        failure(FailureCode.CONNECTION_TERMINATED),
        grows_mib=24,
    ),
    http2(
        "h2-header-bomb",
        "names one header of 4,000 bytes 5,000 times, in a byte each",
        "over the limit of 256 KiB; those before it are shown",
        over_h2(answer.repeats_a_header),
        failure(FailureCode.HTTP_PROTOCOL_ERROR, status=200),
        grows_mib=24,
    ),
    http2(
        "h2-pings-for-ever",
        "sends PING without end",
        "the connection ended: nghttp2 gives up when nobody reads its acknowledgements",
        over_h2(answer.pings_for_ever),
        failure(FailureCode.CONNECTION_TERMINATED),
        grows_mib=24,
    ),
    http2(
        "h2-settings-for-ever",
        "sends SETTINGS without end",
        "the connection ended: nghttp2 gives up when nobody reads its acknowledgements",
        over_h2(answer.settings_for_ever),
        failure(FailureCode.CONNECTION_TERMINATED),
        grows_mib=24,
    ),
    http2(
        "h2-speaks-http-1-instead",
        "chooses HTTP/2 and responds in HTTP/1.1",
        "no HTTP/2",
        answer.answers_garbage,
        failure(FailureCode.HTTP_PROTOCOL_ERROR),
    ),
    http2(
        "h2-closes-at-once",
        "chooses HTTP/2 and closes",
        "the connection ended",
        answer.closes_before_settings,
        failure(FailureCode.CONNECTION_TERMINATED),
    ),
)
