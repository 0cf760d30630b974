"""What a collector brings home: exchanges, the body and what was read from it, or a failure. Pure values.

They cross the process boundary by pickle, go into the database and out through the API under the same names. Names
follow RFC 9110 (exchange parts), HAR 1.2 (timing phases) and RFC 9209 §2.3 (failure codes). Durations are in
milliseconds, lengths in bytes, instants aware UTC in whole milliseconds.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct


class Header(Struct, frozen=True, omit_defaults=True):
    """One header line. `value` is text when the bytes are UTF-8, else ISO-8859-1 with the bytes in `value_base64`."""

    name: str
    value: str
    value_base64: str | None = None


class SetCookie(Struct, frozen=True, kw_only=True):
    """One Set-Cookie line, parsed by RFC 6265bis §5.6; `raw` is the line's value as it came.

    `expires` is the Expires attribute alone; `max_age` is in seconds. `flaws` names what a browser would ignore or
    refuse; the line is kept all the same.
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
    """The final response's status line and header lines, in order; 1xx responses and trailers are not among them."""

    status_code: int
    reason: str
    http_version: str
    headers: tuple[Header, ...]
    set_cookies: tuple[SetCookie, ...]


class Timings(Struct, frozen=True, kw_only=True):
    """Milliseconds per phase, none overlapping another; null for a phase that did not take place.

    `connect` is without `tls`. `blocked` is the wait before the transfer began (queue, connection limit).
    """

    blocked: float | None = None
    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    send: float | None = None
    wait: float | None = None
    receive: float | None = None


class Server(Struct, frozen=True):
    """The peer of the connection: its address as text and its port."""

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
    """The TLS session of the connection, also when the connection was reused. `verify_error` is OpenSSL's reason."""

    version: str | None
    cipher: str | None
    alpn: str | None
    verified: bool
    verify_error: str | None
    certificate: Certificate | None


class Exchange(Struct, frozen=True, kw_only=True):
    """One request and its response.

    `response` is null on the hop that failed, except that headers which are not acceptable (`http_protocol_error`) are
    shown as far as they came. `request.headers` is empty, and `request.http_version` "", when nothing was sent.
    """

    started_at: datetime
    request: Request
    response: Response | None
    timings_ms: Timings
    server: Server | None
    tls: Tls | None


CodingError = Literal["unknown_coding", "broken_coding", "truncated_coding", "too_many_codings"]


class Body(Struct, frozen=True, kw_only=True):
    """What is known of the last hop's body.

    `length` and `sha256` are of the decoded bytes, `wire_length` and `wire_sha256` of the bytes as they came, with
    `content_codings` still on them. With `coding_error` the coded bytes are what is stored. `encoding` is "base64"
    when `page_source` is not text. `truncated` says why the body ends early.
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
    """A name and its value, as a page has them."""

    name: str
    value: str


class Summary(Struct, frozen=True, kw_only=True):
    """What an HTML page says of itself: values as the page has them, spaces collapsed; URLs absolute.

    `open_graph` and `twitter` are in the page's order, their names as they came, e.g. `og:title`. `json_ld_types` are
    the top-level `@type`s, each once. `complete` is false when the page is longer or deeper than what is read, or a
    value was cut or left out.
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
    """A URL's answer: the final headers arrived. `content` is the body, decoded, as one zstd frame.

    `summary` is null when the body is no HTML page.
    """

    final_url: str
    exchanges: tuple[Exchange, ...]
    body: Body
    summary: Summary | None
    content: bytes
    fetched_at: datetime


class FailureCode(StrEnum):
    """Why no final response headers could be had. The first eleven are RFC 9209 §2.3's proxy error types."""

    DNS_ERROR = "dns_error"  # the name does not resolve
    DNS_TIMEOUT = "dns_timeout"  # no answer to the name's look-up in time
    DESTINATION_IP_PROHIBITED = "destination_ip_prohibited"  # every address or the port is refused by rule
    CONNECTION_REFUSED = "connection_refused"  # the server's host refused the connection, or cannot be reached
    CONNECTION_TIMEOUT = "connection_timeout"  # no connection in time
    CONNECTION_TERMINATED = "connection_terminated"  # the connection broke before the final headers
    TLS_CERTIFICATE_ERROR = "tls_certificate_error"  # the certificate does not verify
    TLS_PROTOCOL_ERROR = "tls_protocol_error"  # the TLS handshake failed otherwise
    HTTP_PROTOCOL_ERROR = "http_protocol_error"  # what came is not HTTP, or over a limit of headers
    HTTP_RESPONSE_TIMEOUT = "http_response_timeout"  # connected, but no final headers in time
    HTTP_RESPONSE_INCOMPLETE = "http_response_incomplete"  # it ended inside its headers, or with less than is kept
    TOO_MANY_REDIRECTS = "too_many_redirects"  # longer than the limit, or a loop
    WORKER_LOST = "worker_lost"  # the collector's process died with this URL
    INTERNAL_ERROR = "internal_error"  # a fault of this system


class Failure(Struct, frozen=True, kw_only=True):
    """A collection without a response. `detail` is for people and never tells a refused address.

    `exchanges` go up to and including the hop that failed; see `Exchange` for its `response`.
    """

    code: FailureCode
    detail: str
    at: datetime
    exchanges: tuple[Exchange, ...] = ()


Outcome = Capture | Failure


class CollectionOrder(Struct, frozen=True, kw_only=True):
    """What a collector is asked for. `token` names the transfer and is the lease's; `url` is normalized.

    `alone`: a process was lost with it, so it is given one that it shares with no other.
    """

    token: str
    url: str
    alone: bool = False
