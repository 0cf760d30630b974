"""The values that the API answers with, built from entries. Pure.

Clients rely on these names and shapes; the OpenAPI document is made from them.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import datetime

from backports import zstd
from msgspec import Struct

from metadata_inventory.model import record
from metadata_inventory.model.capture import Body, Capture, Exchange, Header, SetCookie, Summary
from metadata_inventory.model.charsets import decode
from metadata_inventory.model.policy import retryable
from metadata_inventory.model.record import Entry, Job, QueueState, Status, StoredFailure


class LastError(Struct, frozen=True, kw_only=True):
    """Why the latest collection failed; null in a record whose latest collection succeeded."""

    code: str
    detail: str
    at: datetime
    attempt: int
    retryable: bool


class Record(Struct, frozen=True, kw_only=True):
    """The record of a URL: the response of its origin, and how it was reached.

    `headers` and `cookies` sum up the last hop: lower-case name → value, lines of one name joined by ", ", and the
    last cookie of a name. `exchanges` has every line of every hop, oldest first. `page_source` is the decoded body as
    text, or as base64 where `body.encoding` says so.
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


class Depth(Struct, frozen=True, kw_only=True):
    """Jobs in one state. `codes` counts those whose last attempt failed, by its code."""

    count: int
    oldest_age_s: float | None  # since the oldest was requested
    next_due_at: datetime | None  # when the first of them may be claimed
    codes: Mapping[str, int]


class RunningJob(Struct, frozen=True, kw_only=True):
    """A job that a worker holds: `owner` is its host:pid:id, `lease_until` is when the lease ends unless renewed."""

    id: str
    normalized_url: str
    owner: str
    lease_until: datetime
    queued_at: datetime
    attempts: int


class QueueView(Struct, frozen=True, kw_only=True):
    """The collections that are owed, of all workers.

    `waiting` are due, but no lane had room yet, up to `limit`; `running` are held by a worker; `retrying` wait for the
    time of their next attempt; the lease of the `abandoned` ones has run out. `failed` counts stored failures without a
    job.
    """

    limit: int
    waiting: Depth
    running: Depth
    retrying: Depth
    abandoned: Depth
    failed: Mapping[str, int]
    jobs: tuple[RunningJob, ...]


def build_queue(state: QueueState, limit: int, now: datetime) -> QueueView:
    return QueueView(
        limit=limit,
        waiting=_depth(state.waiting, now),
        running=_depth(state.running, now),
        retrying=_depth(state.retrying, now),
        abandoned=_depth(state.abandoned, now),
        failed=state.failed,
        jobs=tuple(_running_job(entry, entry.job) for entry in state.leases if entry.job is not None),
    )


def _depth(depth: record.QueueDepth, now: datetime) -> Depth:
    oldest = depth.oldest_queued_at
    return Depth(
        count=depth.count,
        oldest_age_s=None if oldest is None else max(0.0, (now - oldest).total_seconds()),
        next_due_at=depth.next_due_at,
        codes=depth.codes,
    )


def _running_job(entry: Entry, job: Job) -> RunningJob:
    return RunningJob(
        id=entry.id,
        normalized_url=entry.normalized_url,
        owner=job.owner or "",
        lease_until=job.due_at,
        queued_at=job.queued_at,
        attempts=job.attempts,
    )


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
    """The decoded body: text in its charset, with U+FFFD for malformed sequences, or base64."""
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
