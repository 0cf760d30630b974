"""Entry ↔ BSON document of the collection `records`. Only this module, `claims` and `filters` know its
field names.

    {_id: sha256 hex of normalized_url, normalized_url, url, status, revision, requested_at, checked_at,
     unchanged_count, settled,
     capture: {version, final_url, exchanges, body, …}, content: BinData(zstd frame) | content_file: true,
     failure: {version, failure: {…}, attempts, retry_at, policy},
     job: {version, host, queued_ms, due_ms, attempts, losses, kept, lease: null | {owner, token}}}

Instants are BSON dates (whole milliseconds, UTC). Those of `job` are milliseconds as numbers instead, because the
server computes and compares them (`$$NOW`). Header names and the like are values, never keys.

A document that cannot be read (a newer version, a missing field, a wrong type, an unknown enum value, a bad URL) is
logged once, where it is read, with its id and the field, but no stored text; then RecordUnreadable is raised.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
from msgspec import Struct

from metadata_inventory.errors import RecordUnreadable
from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import Entry, Job, Status, StoredFailure
from metadata_inventory.model.urls import recall
from metadata_inventory.storage import migrations
from metadata_inventory.storage.migrations import Part, ShapeUnreadable

logger = logging.getLogger(__name__)

Document = Mapping[str, Any]

# Leaves the capture out, except for its version: `to_head` reads such a document.
WITHOUT_CAPTURE = {"content": 0, **{f"capture.{name}": 0 for name in Capture.__struct_fields__ if name != "content"}}

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


class _Lease(Struct, frozen=True):
    owner: str
    token: str


class _Job(Struct, frozen=True):
    queued_ms: int
    due_ms: int
    attempts: int
    losses: int
    kept: int | None
    lease: _Lease | None


class _Record(Struct, frozen=True, kw_only=True, rename={"id": "_id"}):
    """The document in the present shapes. Reading checks types by it; an absent part and a null one are the same."""

    id: str
    url: str
    normalized_url: str
    status: Status
    revision: int
    requested_at: datetime
    checked_at: datetime | None = None
    unchanged_count: int
    settled: str
    capture: Capture | None = None
    failure: StoredFailure | None = None
    job: _Job | None = None


def capture_fields(capture: Capture) -> dict[str, Any]:
    """The capture as a sub-document, without its content."""
    fields = {"version": migrations.CAPTURE_VERSION, **_builtins(capture)}
    del fields["content"]
    return fields


def failure_fields(failure: StoredFailure) -> dict[str, Any]:
    """The failure as a sub-document."""
    return {"version": migrations.FAILURE_VERSION, **_builtins(failure)}


def to_entry(document: Document) -> Entry:
    """The entry of a whole document; `capture.content` is empty when the document was read without its content.

    Raises RecordUnreadable, after the reason was logged.
    """
    try:
        return _to_entry(document)
    except ShapeUnreadable as error:
        raise unreadable(document, str(error)) from None


def to_head(document: Document) -> Entry:
    """The entry of a document that was read with `WITHOUT_CAPTURE`; its `capture` is None. Raises as `to_entry`.

    A capture of a newer version makes it unreadable all the same: this program must not collect over it.
    """
    try:
        if (capture := _get_part(document, "capture")) is not None:
            migrations.read_version("capture", capture)
        return _to_entry({**document, "capture": None})
    except ShapeUnreadable as error:
        raise unreadable(document, str(error)) from None


def to_readable_head(document: Document) -> Entry | None:
    """As `to_head`, but None for a document that cannot be read, so that the others of a list are still returned."""
    try:
        return to_head(document)
    except RecordUnreadable:
        return None


def unreadable(document: Document, reason: str) -> RecordUnreadable:
    """Log the reason why a document cannot be read, and return the error to raise."""
    logger.error("a stored record cannot be read: %s", reason, extra={"record": document.get("_id")})
    return RecordUnreadable()


def to_instant(ms: int) -> datetime:
    """Raises OverflowError, ValueError or OSError outside the years 1 to 9999."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _to_entry(document: Document) -> Entry:
    parts: dict[str, Any] = {part: _upgraded_part(document, part) for part in get_args(Part)}
    if parts["capture"] is not None:
        parts["capture"] = {**parts["capture"], "content": document.get("content", b"")}
    try:
        record = msgspec.convert({**document, **parts}, _Record)
    except msgspec.ValidationError as error:
        raise ShapeUnreadable(_name_field(str(error))) from None
    _check_url(record)
    if record.capture is not None and (not record.capture.exchanges or record.capture.exchanges[-1].response is None):
        raise ShapeUnreadable("the field capture.exchanges ends without a response")
    return Entry(
        id=record.id,
        url=record.url,
        normalized_url=record.normalized_url,
        status=record.status,
        revision=record.revision,
        requested_at=record.requested_at,
        checked_at=record.checked_at,
        unchanged_count=record.unchanged_count,
        settled=record.settled,
        capture=record.capture,
        failure=record.failure,
        job=None if record.job is None else _to_job(record.job),
    )


def _upgraded_part(document: Document, part: Part) -> Document | None:
    fields = _get_part(document, part)
    return None if fields is None else migrations.upgrade(part, fields)


def _get_part(document: Document, part: Part) -> Document | None:
    fields = document.get(part)
    if fields is not None and not isinstance(fields, Mapping):
        raise ShapeUnreadable(f"the field {part} has a wrong type")
    return fields


def _to_job(job: _Job) -> Job:
    try:
        queued_at, due_at = to_instant(job.queued_ms), to_instant(job.due_ms)
    except (OverflowError, ValueError, OSError):
        raise ShapeUnreadable("the field job.queued_ms or job.due_ms is out of range") from None
    return Job(
        queued_at=queued_at,
        due_at=due_at,
        attempts=job.attempts,
        losses=job.losses,
        kept=job.kept,
        owner=job.lease.owner if job.lease else None,
        token=job.lease.token if job.lease else None,
    )


def _check_url(record: _Record) -> None:
    """Raises ShapeUnreadable for a URL that cannot be recalled, or belongs to another id: no write would find it."""
    try:
        matches = recall(record.normalized_url).id == record.id
    except (ValueError, LookupError):
        matches = False
    if not matches:
        raise ShapeUnreadable("the field normalized_url is not the URL of its id")


def _name_field(message: str) -> str:
    """Which field a message of msgspec is about; the message itself may quote what is stored."""
    path = found[1] if (found := _PATH.search(message)) else ""
    if missing := _MISSING.match(message):
        return f"the field {path}{'.' * bool(path)}{missing[1]} is missing"
    return f"the field {path} has a wrong type or an unknown value"


def _builtins(value: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime, bytes))
    return fields
