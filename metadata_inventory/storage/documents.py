"""Entry ↔ BSON document of the collection `records`: the only place, with `claims`, that knows field names.

    {_id: sha256 hex of normalized_url, normalized_url, url, status, revision, requested_at, checked_at,
     unchanged_count, settled, schema_version,
     capture: {final_url, exchanges, body, fetched_at, …}, content: BinData(zstd frame) | content_file: true,
     failure: {failure: {…}, attempts, retry_at, policy},
     job: {host, queued_ms, due_ms, attempts, losses, kept, lease: null | {owner, token}}}

Instants are BSON dates (whole milliseconds, UTC), but for those of `job`: they are milliseconds as numbers, because
they are computed and compared on the server (`$$NOW`). Header names and the like are values, never keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import Entry, Job, Status, StoredFailure

SCHEMA_VERSION = 1

Document = Mapping[str, Any]

# What a list of jobs needs: everything but the capture.
WITHOUT_CAPTURE = {"capture": 0, "content": 0}


def capture_fields(capture: Capture) -> dict[str, Any]:
    """The capture without its content, as a sub-document."""
    fields = _builtins(capture)
    del fields["content"]
    return fields


def failure_fields(failure: StoredFailure) -> dict[str, Any]:
    return _builtins(failure)


def to_entry(document: Document) -> Entry:
    """The entry of a document; `capture.content` is empty when the document was read without it."""
    return Entry(
        id=document["_id"],
        url=document["url"],
        normalized_url=document["normalized_url"],
        status=Status(document["status"]),
        revision=document["revision"],
        requested_at=document["requested_at"],
        checked_at=document.get("checked_at"),
        unchanged_count=document["unchanged_count"],
        settled=document["settled"],
        capture=_to_capture(document),
        failure=msgspec.convert(document["failure"], StoredFailure) if document.get("failure") else None,
        job=_to_job(document["job"]) if document.get("job") else None,
    )


def _to_capture(document: Document) -> Capture | None:
    fields = document.get("capture")
    if not fields:
        return None
    return msgspec.convert({**fields, "content": document.get("content", b"")}, Capture)


def _to_job(fields: Document) -> Job:
    lease = fields["lease"] or {"owner": None, "token": None}
    return Job(
        queued_at=to_instant(fields["queued_ms"]),
        due_at=to_instant(fields["due_ms"]),
        attempts=fields["attempts"],
        losses=fields.get("losses", 0),
        kept=fields.get("kept"),
        owner=lease["owner"],
        token=lease["token"],
    )


def to_instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_ms(instant: datetime) -> int:
    """As the instants of `job` are kept."""
    return round(instant.timestamp() * 1000)


def _builtins(value: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime, bytes))
    return fields
