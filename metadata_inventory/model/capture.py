"""The values of an outcome: a capture with its exchanges, body and summary, or a failure. Pure.

They leave the lane process by pickle, and have the same names in the database and in the API. Names
follow RFC 9110 (exchange parts), HAR 1.2 (timing phases) and RFC 9209 §2.3 (failure codes). Durations are in
milliseconds, lengths in bytes, instants aware UTC in whole milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct


class Header(Struct, frozen=True, omit_defaults=True):
    """One header line. `value` is UTF-8 text; of other bytes it is ISO-8859-1, and `value_base64` has the bytes."""

    name: str
    value: str
    value_base64: str | None = None


class SetCookie(Struct, frozen=True, kw_only=True):
    """One Set-Cookie line, parsed by RFC 6265bis §5.6; `raw` is the line's value as it was sent.

    `expires` is the Expires attribute alone; `max_age` is in seconds. `flaws` names what a browser would ignore or
    refuse in the line, which is kept in any case.
    """

    name: str
    value: str
    domain: str | None
    path: str
    expires: datetime | None
    max_age: int | None
    secure: bool
    http_only: bool
    same_site: Literal["Strict", "Lax", "None"] | None
    partitioned: bool
    host_only: bool
    raw: str
    flaws: tuple[str, ...] = ()


class Request(Struct, frozen=True, kw_only=True):
    """The request as it was sent."""

    method: str
    url: str
    http_version: str
    headers: tuple[Header, ...]


class Response(Struct, frozen=True, kw_only=True):
    """The final response's status line and its header lines in order, without 1xx responses and trailers."""

    status_code: int
    reason: str
    http_version: str
    headers: tuple[Header, ...]
    set_cookies: tuple[SetCookie, ...]


class Timings(Struct, frozen=True, kw_only=True):
    """Milliseconds of each phase; phases do not overlap. Null for a phase that did not take place.

    `connect` is without `tls`. `blocked` is the wait for a look-up, for a host slot and in libcurl's queue.
    """

    blocked: float | None = None
    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    send: float | None = None
    wait: float | None = None
    receive: float | None = None


class Server(Struct, frozen=True):
    """The peer of the connection: its IP address and port."""

    ip: str
    port: int


class Certificate(Struct, frozen=True, kw_only=True):
    """The leaf certificate. `names` are the subjectAltName's DNS names and addresses; `serial` and `sha256` are hex."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    serial: str
    not_before: datetime
    not_after: datetime
    sha256: str


class Tls(Struct, frozen=True, kw_only=True):
    """The TLS parameters of the connection, also of a reused one. `verify_error` is OpenSSL's reason."""

    version: str | None
    cipher: str | None
    alpn: str | None
    verified: bool
    verify_error: str | None
    certificate: Certificate | None


class Exchange(Struct, frozen=True, kw_only=True):
    """One request and its response.

    `response` is null on the hop that failed; but with `http_protocol_error` it has the header lines that came before
    the fault. When nothing was sent, `request.headers` is empty and `request.http_version` is "".
    """

    started_at: datetime
    request: Request
    response: Response | None
    timings_ms: Timings
    server: Server | None
    tls: Tls | None


CodingError = Literal["unknown_coding", "broken_coding", "truncated_coding", "too_many_codings"]


class Body(Struct, frozen=True, kw_only=True):
    """The last hop's body.

    `length` and `sha256` are of the decoded bytes; `wire_length` and `wire_sha256` are of the bytes as they were sent,
    with `content_codings` still on them. With a `coding_error` the coded bytes are stored. `encoding` is "base64" when
    `page_source` is not text. `truncated` says why the body ends early.
    """

    sha256: str
    length: int
    stored_length: int
    wire_length: int
    wire_sha256: str
    content_codings: tuple[str, ...]
    coding_error: CodingError | None
    media_type: str | None
    charset: str | None
    charset_source: Literal["bom", "content-type", "meta", "detected", "default"] | None
    encoding: Literal["base64"] | None
    truncated: Literal["length", "time", "disconnect"] | None


class Property(Struct, frozen=True):
    """A name and its value, as they stand in a page."""

    name: str
    value: str


class Summary(Struct, frozen=True, kw_only=True):
    """The metadata in an HTML page: values as they stand there, with spaces collapsed; URLs absolute.

    `open_graph` and `twitter` are in the page's order, under their own names, such as `og:title`. `json_ld_types` are
    the top-level `@type`s, each once. `complete` is false when the page is longer or deeper than what is read, or when
    a value was cut or left out.
    """

    title: str | None = None
    description: str | None = None
    canonical: str | None = None
    language: str | None = None
    favicon: str | None = None
    open_graph: tuple[Property, ...] = ()
    twitter: tuple[Property, ...] = ()
    json_ld_types: tuple[str, ...] = ()
    complete: bool = True


class Capture(Struct, frozen=True, kw_only=True):
    """An outcome whose final response headers arrived. `content` is the decoded body as one zstd frame.

    `summary` is null when the body is not an HTML page.
    """

    final_url: str
    exchanges: tuple[Exchange, ...]
    body: Body
    summary: Summary | None
    content: bytes
    fetched_at: datetime


class FailureCode(StrEnum):
    """Why the final response headers never arrived. The first eleven are RFC 9209 §2.3's proxy error types."""

    DNS_ERROR = "dns_error"  # the name does not resolve
    DNS_TIMEOUT = "dns_timeout"  # the look-up of the name was not finished in time
    DESTINATION_IP_PROHIBITED = "destination_ip_prohibited"  # every address or the port is refused by rule
    CONNECTION_REFUSED = "connection_refused"  # the server's host refused the connection, or cannot be reached
    CONNECTION_TIMEOUT = "connection_timeout"  # no connection in time
    CONNECTION_TERMINATED = "connection_terminated"  # the connection broke before the final headers
    TLS_CERTIFICATE_ERROR = "tls_certificate_error"  # the certificate does not verify
    TLS_PROTOCOL_ERROR = "tls_protocol_error"  # the TLS handshake failed otherwise
    HTTP_PROTOCOL_ERROR = "http_protocol_error"  # the response is not HTTP, or its headers exceed a limit
    HTTP_RESPONSE_TIMEOUT = "http_response_timeout"  # connected, but no final headers in time
    HTTP_RESPONSE_INCOMPLETE = "http_response_incomplete"  # it ended inside its headers, or brought less than is stored
    TOO_MANY_REDIRECTS = "too_many_redirects"  # longer than the limit, or a loop
    WORKER_LOST = "worker_lost"  # the lane process or the worker that collected this URL was lost
    INTERNAL_ERROR = "internal_error"  # this service failed


class Failure(Struct, frozen=True, kw_only=True):
    """An outcome without final response headers. `detail` is for people and never names a refused address.

    `exchanges` go up to and including the hop that failed; see `Exchange` for its `response`.
    """

    code: FailureCode
    detail: str
    at: datetime
    exchanges: tuple[Exchange, ...] = ()


Outcome = Capture | Failure


class CollectionOrder(Struct, frozen=True, kw_only=True):
    """An order for a collector. `token` is the fencing token of the lease; `url` is normalized.

    `alone`: a lane process was lost with this URL, so it is collected in a lane process of its own.
    """

    token: str
    url: str
    alone: bool = False
