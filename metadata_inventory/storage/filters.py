"""The filters of queries and updates on the collection `records`, and the indexes that serve these filters.

`due_ms` is compared with the database server's clock: `$toLong` of `$$NOW`, because SecantusDB 0.7 calls
`date <= $$NOW` always true.

Updates match no document with a newer version of a shape than this program knows, so that a program of an earlier
release does not write over what a later one has stored. Claims and requeues match none with a broken head either.
Filters of updates carry `normalized_url` beside `_id`, because it is the shard key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.record import Cursor, Lease, Status
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage.migrations import JOB_VERSION, VERSIONS

Expression = Mapping[str, Any]

NOW: Expression = {"$toLong": "$$NOW"}

# Documents with a job: what the partial index covers. A missing field is less than every number.
OWED: Expression = {"job.due_ms": {"$gt": 0}}
# The job that was due first comes first; the id orders jobs that became due at one instant. The host is for filters.
OWED_INDEX = [("job.due_ms", 1), ("_id", 1), ("job.host", 1)]
DUE_ORDER = OWED_INDEX[:2]

# Documents with a failure: what their index covers.
HAS_FAILED: Expression = {"failure.failure.code": {"$gt": ""}}
FAILED_INDEX = [("failure.failure.code", 1), ("job.due_ms", 1)]
# Failures of entries that have no job.
FAILED: Expression = {**HAS_FAILED, "job.due_ms": None}

# Jobs under a lease that has not run out.
RUNNING: Expression = {**OWED, "job.lease.token": {"$gt": ""}, "$expr": {"$gt": ["$job.due_ms", NOW]}}
# Jobs without a lease: they wait for room, or for the time of their next attempt.
WAITING: Expression = {**OWED, "job.lease": None}

# `$not` with `$gt` also matches documents without a version. The embedded database needs no
# measurable time for it, and 0.05 ms more a claim for each `$in`.
_NO_NEWER_JOB: Expression = {"job.version": {"$not": {"$gt": JOB_VERSION}}}
_NO_NEWER_PART: Expression = {f"{part}.version": {"$not": {"$gt": version}} for part, version in VERSIONS.items()}
_READABLE_HEAD: Expression = {
    "url": {"$type": "string"},
    "status": {"$in": list(Status)},
    "revision": {"$type": "number"},
    "requested_at": {"$type": "date"},
    "unchanged_count": {"$type": "number"},
    "settled": {"$type": "string"},
}
_KNOWN_FAILURE: Expression = {"failure.failure.code": {"$in": [None, *FailureCode]}}  # None: without a failure


def due(after: Cursor | None, except_hosts: Collection[str]) -> Expression:
    """Jobs that any worker may take now, of other hosts than these, and behind `after` in DUE_ORDER.

    Those of a newer version are left to newer workers: while a release is being replaced there may be thousands.
    """
    filters: dict[str, Any] = {**OWED, "$expr": {"$lte": ["$job.due_ms", NOW]}, **_NO_NEWER_PART}
    if except_hosts:
        filters["job.host"] = {"$nin": list(except_hosts)}
    if after is not None:
        filters["job.due_ms"] = {"$gte": after.due_ms}
        filters["$or"] = [{"job.due_ms": {"$gt": after.due_ms}}, {"_id": {"$gt": after.id}}]
    return filters


def _identity(url: NormalizedUrl) -> dict[str, Any]:
    return {"_id": url.id, "normalized_url": url.href}


def readable(url: NormalizedUrl) -> dict[str, Any]:
    """The URL's document, unless this program cannot read its head, a part of it is of a newer version, or its failure
    has a code that this program does not know."""
    return {**_identity(url), **_NO_NEWER_PART, **_READABLE_HEAD, **_KNOWN_FAILURE}


def held(lease: Lease) -> dict[str, Any]:
    """The document whose job has this lease, unless the job is of a newer version. The claim saw the other parts."""
    return {**_identity(lease.url), "job.lease.token": lease.token, **_NO_NEWER_JOB}
