"""The filters and updates by which work is owed, taken and settled: each one atomic write on one document.

A job is a sub-document with `due_ms`, the instant from which anybody may take it: with a lease that is when the lease
runs out, without one when it is to be tried (next). So "is it free?" is a single comparison, one index serves it, and
both sides of it are the server's clock (`$toLong` of `$$NOW`, since SecantusDB 0.7 calls `date <= $$NOW` always true).

Repeating a write is harmless, so a timeout is answered by the same write again:
  * a claim that landed has made the job its own, so that it is not due: repeated, it changes nothing;
  * an outcome that landed has ended the job; repeated, it matches nothing, and `settled` is its token.

What came from outside (URLs, an origin's text) stands in `$literal` in a pipeline: "$foo" is no field path. A whole
sub-document is set through `$mergeObjects` or `$literal`: given bare, MongoDB would merge it with what is there.

Filters carry `normalized_url` beside `_id`: it is the shard key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pymongo import UpdateOne

from metadata_inventory.model.capture import Capture
from metadata_inventory.model.record import ANY, ClaimRequest, Cursor, Lease, Retry, Status, StoredFailure
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage.documents import SCHEMA_VERSION, failure_fields

Expression = Mapping[str, Any]

NOW: Expression = {"$toLong": "$$NOW"}

# Documents with a job; what the partial index covers. A missing field is less than every number.
OWED: Expression = {"job.due_ms": {"$gt": 0}}
# Longest due first; the id tells those apart that became due at once. The host is there to be filtered by.
OWED_INDEX = [("job.due_ms", 1), ("_id", 1), ("job.host", 1)]
DUE_ORDER = OWED_INDEX[:2]

_HAS_JOB: Expression = {"$gt": ["$job.due_ms", 0]}
_UNLEASED: Expression = {"$eq": [{"$ifNull": ["$job.lease", None]}, None]}
# A lease that is taken over has been lost by somebody; what is lost again and again is given up in the end.
_ONE_WHEN_LEASED: Expression = {"$cond": [_UNLEASED, 0, 1]}


# Documents with a failure; what their index covers.
HAS_FAILED: Expression = {"failure.failure.code": {"$gt": ""}}
FAILED_INDEX = [("failure.failure.code", 1), ("job.due_ms", 1)]
# Failures behind which no work is owed.
FAILED: Expression = {**HAS_FAILED, "job.due_ms": None}


def due(after: Cursor | None, except_hosts: Collection[str]) -> Expression:
    """Jobs that anybody may take now; of these only what comes behind `after` in DUE_ORDER, and of other hosts."""
    filters: dict[str, Any] = {**OWED, "$expr": {"$lte": ["$job.due_ms", NOW]}}
    if except_hosts:
        filters["job.host"] = {"$nin": list(except_hosts)}
    if after is not None:
        filters["job.due_ms"] = {"$gte": after.due_ms}
        filters["$or"] = [{"job.due_ms": {"$gt": after.due_ms}}, {"_id": {"$gt": after.id}}]
    return filters


# Jobs that somebody holds.
RUNNING: Expression = {**OWED, "job.lease.token": {"$gt": ""}, "$expr": {"$gt": ["$job.due_ms", NOW]}}
# Jobs that nobody holds: they wait for room, or for the time of their next attempt.
WAITING: Expression = {**OWED, "job.lease": None}


def claim(request: ClaimRequest, lease_ms: int) -> UpdateOne:
    """Take the URL's job, or put one down, if what the caller saw still holds; else change nothing.

    With a lease, a due job is taken; `run_now` takes one that waits for its time as well, and forgets what it has kept:
    who asks for a collection now gets what it brings. A job is made when the URL is unknown (the upsert), or when it
    has none and its last outcome is the one that the caller knows.

    The condition stands in the update: MongoDB refuses `$expr` in the filter of an upsert.
    """
    free: list[Expression] = []
    if request.lease is not None:
        free.append({"$and": [_HAS_JOB, {"$lte": ["$job.due_ms", NOW]}]})
    if request.run_now:
        free.append({"$and": [_HAS_JOB, _UNLEASED]})
    free.append({"$and": [{"$not": [_HAS_JOB]}, _knows(request.known_settled)]})

    lease = {"owner": request.lease.owner, "token": request.lease.token} if request.lease else None
    job = {
        "host": {"$literal": request.url.host},
        "queued_ms": {"$ifNull": ["$job.queued_ms", NOW]},
        "attempts": {"$ifNull": ["$job.attempts", 0]},
        "losses": {"$add": [{"$ifNull": ["$job.losses", 0]}, _ONE_WHEN_LEASED]},
        "kept": None if request.run_now else {"$ifNull": ["$job.kept", None]},
        "due_ms": {"$add": [NOW, lease_ms]} if lease else {"$min": [{"$ifNull": ["$job.due_ms", NOW]}, NOW]},
        "lease": {"$literal": lease},
    }
    taken: Expression = {"$or": free}
    fields = {
        "url": {"$ifNull": ["$url", {"$literal": request.given_url}]},
        "status": {"$cond": [taken, _complete_or(Status.PENDING), "$status"]},
        "revision": {"$ifNull": ["$revision", 0]},
        "requested_at": {"$ifNull": ["$requested_at", request.requested_at]},
        "unchanged_count": {"$ifNull": ["$unchanged_count", 0]},
        "settled": {"$ifNull": ["$settled", ""]},
        "schema_version": {"$ifNull": ["$schema_version", SCHEMA_VERSION]},
        "job": {"$cond": [taken, {"$mergeObjects": [job]}, {"$ifNull": ["$job", "$$REMOVE"]}]},
    }
    inserts = request.known_settled in (None, ANY)
    return UpdateOne(_identity(request.url), [{"$set": fields}], upsert=inserts)


def renew(lease: Lease, lease_ms: int) -> UpdateOne:
    """Move the end of a lease that is still held."""
    return UpdateOne(_held(lease), [{"$set": {"job.due_ms": {"$add": [NOW, lease_ms]}}}])


def holder(document: Mapping[str, Any]) -> str | None:
    """The token of the lease on the document's job; None when nobody holds it."""
    lease: Mapping[str, str] = document.get("job", {}).get("lease") or {}
    return lease.get("token")


def complete(
    lease: Lease, capture: Capture, fields_of_capture: Expression, retry: Retry | None, *, content_inline: bool
) -> UpdateOne:
    """Store the capture, and end the job or let it be taken again.

    The first is done by operators, of which nothing is evaluated. The second needs the server's clock, so a pipeline.
    """
    content = {"content": capture.content} if content_inline else {"content_file": True}
    other = "content_file" if content_inline else "content"
    fields = {
        "status": Status.COMPLETE,
        "capture": fields_of_capture,
        "checked_at": capture.fetched_at,
        "settled": lease.token,
        **content,
    }
    if retry is None:
        unset = {"job": "", "failure": "", other: ""}
        return UpdateOne(_held(lease), {"$set": fields, "$inc": {"revision": 1}, "$unset": unset})
    stages: list[Expression] = [
        {
            "$set": {
                **{name: {"$literal": value} for name, value in fields.items()},
                "revision": {"$add": ["$revision", 1]},
                "job": _given_back(attempts=1, delay_ms=retry.delay_ms, kept=retry.kept),
            }
        },
        {"$unset": ["failure", other]},
    ]
    return UpdateOne(_held(lease), stages)


def fail(lease: Lease, failure: StoredFailure) -> UpdateOne:
    """Store the failure and end the job; a complete record goes on being served."""
    fields = {
        "status": _complete_or(Status.FAILED),
        "failure": {"$literal": failure_fields(failure)},
        "checked_at": failure.failure.at,
        "settled": {"$literal": lease.token},
        "job": "$$REMOVE",
    }
    return UpdateOne(_held(lease), [{"$set": fields}])


def postpone(lease: Lease, failure: StoredFailure, delay_ms: int) -> UpdateOne:
    """Store the failure of an attempt, and let the job be taken again after a while."""
    fields = {
        "job": _given_back(attempts=1, delay_ms=delay_ms),
        "failure": {"$literal": failure_fields(failure)},
        "settled": {"$literal": lease.token},
    }
    return UpdateOne(_held(lease), [{"$set": fields}])


def release(lease: Lease) -> UpdateOne:
    """Give the job back as it was. Nothing has come of it: whoever waits for an outcome waits on."""
    return UpdateOne(_held(lease), [{"$set": {"job": _given_back(attempts=0, delay_ms=0)}}])


def requeue(url: NormalizedUrl) -> UpdateOne:
    """Put down a fresh job for a failed one that has none, so that anybody takes it."""
    job = {
        "host": {"$literal": url.host},
        "queued_ms": NOW,
        "attempts": 0,
        "losses": 0,
        "kept": None,
        "due_ms": NOW,
        "lease": None,
    }
    fields = {"job": {"$mergeObjects": [job]}, "status": _complete_or(Status.PENDING)}
    return UpdateOne({**_identity(url), **FAILED}, [{"$set": fields}])


def _given_back(*, attempts: int, delay_ms: int, kept: int | None = None) -> Expression:
    job = {
        "attempts": {"$add": ["$job.attempts", attempts]},
        "due_ms": {"$add": [NOW, delay_ms]},
        "lease": None,
    }
    return {"$mergeObjects": ["$job", {**job, "kept": kept} if kept is not None else job]}


def _knows(settled: str | None) -> Expression:
    """Whether the entry's last outcome is the one that the caller knows; None stands for no entry at all."""
    if settled == ANY:
        return {"$literal": True}
    if settled is None:
        return {"$eq": [{"$type": "$settled"}, "missing"]}
    return {"$eq": ["$settled", {"$literal": settled}]}


def _complete_or(status: Status) -> Expression:
    return {"$cond": [{"$eq": ["$status", Status.COMPLETE]}, Status.COMPLETE, status]}


def _identity(url: NormalizedUrl) -> dict[str, Any]:
    return {"_id": url.id, "normalized_url": url.href}


def _held(lease: Lease) -> dict[str, Any]:
    return {**_identity(lease.url), "job.lease.token": lease.token}
