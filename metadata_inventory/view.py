"""What the API shows of an entry. Names and shapes here are the API's promise; the OpenAPI document is made of them."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import datetime

from backports import zstd
from msgspec import Struct

from metadata_inventory.capture import Body, Capture, Exchange, Header, SetCookie, Summary
from metadata_inventory.charsets import decode
from metadata_inventory.policy import retryable
from metadata_inventory.record import Entry, Status, StoredFailure


class LastError(Struct, frozen=True, kw_only=True):
    """Why the latest collection failed; null in a record whose latest collection did not."""

    code: str
    detail: str
    at: datetime
    attempt: int
    retryable: bool


class Record(Struct, frozen=True, kw_only=True):
    """A URL's record: what its server answered.

    `headers` and `cookies` are a short view of the last hop: lower-case name → value, lines of one name joined by
    ", ", the last cookie of a name. `exchanges` has every line of every hop, oldest first. `page_source` is the
    decoded body as text, or as base64 where `body.encoding` says so.
    """

    id: str
    url: str
    normalized_url: str
    final_url: str
    status: Status
    status_code: int
    http_version: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    page_source: str
    fetched_at: datetime
    checked_at: datetime
    requested_at: datetime
    revision: int
    unchanged_count: int
    last_error: LastError | None
    body: Body
    summary: Summary | None
    exchanges: tuple[Exchange, ...]


class Pending(Struct, frozen=True, kw_only=True):
    """A collection that is owed; ask again after `Retry-After` seconds."""

    detail: str
    id: str
    url: str
    normalized_url: str
    status: Status
    requested_at: datetime
    attempts: int
    last_error: LastError | None


def build_record(entry: Entry, capture: Capture, content: bytes) -> Record:
    """The record of a complete entry; `content` is the body's zstd frame, b"" to leave `page_source` empty."""
    last = capture.exchanges[-1].response
    if last is None:
        raise ValueError("a capture's last exchange has a response")
    return Record(
        id=entry.id,
        url=entry.url,
        normalized_url=entry.normalized_url,
        final_url=capture.final_url,
        status=entry.status,
        status_code=last.status_code,
        http_version=last.http_version,
        headers=_joined(last.headers),
        cookies=_last_of_each(last.set_cookies),
        page_source=page_source(capture.body, content) if content else "",
        fetched_at=capture.fetched_at,
        checked_at=entry.checked_at or capture.fetched_at,
        requested_at=entry.requested_at,
        revision=entry.revision,
        unchanged_count=entry.unchanged_count,
        last_error=build_last_error(entry.failure),
        body=capture.body,
        summary=capture.summary,
        exchanges=capture.exchanges,
    )


def build_pending(entry: Entry) -> Pending:
    job = entry.job
    return Pending(
        detail="The URL is being collected; ask again later.",
        id=entry.id,
        url=entry.url,
        normalized_url=entry.normalized_url,
        status=Status.PENDING,
        requested_at=job.queued_at if job else entry.requested_at,
        attempts=job.attempts if job else 0,
        last_error=build_last_error(entry.failure),
    )


def build_last_error(stored: StoredFailure | None) -> LastError | None:
    if stored is None:
        return None
    return LastError(
        code=stored.failure.code,
        detail=stored.failure.detail,
        at=stored.failure.at,
        attempt=stored.attempts,
        retryable=retryable(stored.failure.code),
    )


def page_source(body: Body, content: bytes) -> str:
    """The decoded body as text: in its charset, malformed sequences replaced; else in base64."""
    decoded = body_bytes(content)
    if body.encoding == "base64":
        return binascii.b2a_base64(decoded, newline=False).decode("ascii")
    return decode(decoded, body.charset or "utf-8")


def body_bytes(content: bytes) -> bytes:
    """The decoded body, byte for byte, of the stored zstd frame."""
    return zstd.decompress(content)


def _joined(headers: tuple[Header, ...]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for header in headers:
        name = header.name.lower()
        joined[name] = f"{joined[name]}, {header.value}" if name in joined else header.value
    return joined


def _last_of_each(cookies: tuple[SetCookie, ...]) -> dict[str, str]:
    return {cookie.name: cookie.value for cookie in cookies}
