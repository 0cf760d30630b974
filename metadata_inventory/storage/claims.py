"""The updates that claim a job, settle it and release it. Each is one atomic write on one document.

A job is a sub-document with `due_ms`, the instant from which any worker may take it: the end of the lease when it has
one, else the time of the next attempt. So one comparison says whether a job is free, and one index serves it.

Every write may be repeated, so after a timeout the same write is sent again:
  * A claim that took effect gave the caller the job, so the job is not due: the second one changes nothing.
  * An outcome that took effect ended the job: the second one matches nothing, and `settled` has its token.

A claim matches no document that `filters.readable` excludes: with a newer shape, a broken head or an unknown failure
code. It then tries to insert a second document under the same id, which the unique `_id` refuses. A job or capture of a
known version that is broken is no obstacle: claim and outcome replace them whole.

Text from outside (URLs, what an origin sent) stands in `$literal` in a pipeline, so that "$foo" is no field path. A
whole sub-document is set through `$mergeObjects` or `$literal`: given bare, MongoDB would merge it with the stored one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import UpdateOne

from metadata_inventory.model.capture import Capture, FailureCode
from metadata_inventory.model.record import ANY, ClaimRequest, Lease, Retry, Status, StoredFailure
from metadata_inventory.model.urls import NormalizedUrl
from metadata_inventory.storage.documents import failure_fields
from metadata_inventory.storage.filters import FAILED, NOW, Expression, held, readable
from metadata_inventory.storage.migrations import JOB_VERSION

_HAS_JOB: Expression = {"$gt": ["$job.due_ms", 0]}
_UNLEASED: Expression = {"$eq": [{"$ifNull": ["$job.lease", None]}, None]}
# Taking over a lease counts a loss: after MAX_LOSSES of them the job is given up (`model/policy.py`).
_ONE_WHEN_LEASED: Expression = {"$cond": [_UNLEASED, 0, 1]}


def claim(request: ClaimRequest, lease_ms: int) -> UpdateOne:
    """Take the URL's job, or put one into the backlog, if the state that the caller saw still holds; else no change.

    With a lease, a due job is taken. `run_now` also takes one that waits for its time, and forgets its `kept`: a caller
    who asks for a collection now gets its capture. A job is made when the URL is unknown (the upsert), or when the
    document has none and its last outcome is the one that the caller knows.

    The condition stands in the update, because MongoDB refuses `$expr` in the filter of an upsert.
    """
    free: list[Expression] = []
    if request.lease is not None:
        free.append({"$and": [_HAS_JOB, {"$lte": ["$job.due_ms", NOW]}]})
    if request.run_now:
        free.append({"$and": [_HAS_JOB, _UNLEASED]})
    free.append({"$and": [{"$not": [_HAS_JOB]}, _knows(request.known_settled)]})

    taken: Expression = {"$or": free}
    job = _claimed_job(request, lease_ms)
    fields = {
        "url": {"$ifNull": ["$url", {"$literal": request.given_url}]},
        "status": {"$cond": [taken, _complete_or(Status.PENDING), "$status"]},
        "revision": {"$ifNull": ["$revision", 0]},
        "requested_at": {"$ifNull": ["$requested_at", request.requested_at]},
        "unchanged_count": {"$ifNull": ["$unchanged_count", 0]},
        "settled": {"$ifNull": ["$settled", ""]},
        "job": {"$cond": [taken, {"$mergeObjects": [job]}, {"$ifNull": ["$job", "$$REMOVE"]}]},
    }
    inserts = request.known_settled in (None, ANY)
    return UpdateOne(readable(request.url), [{"$set": fields}], upsert=inserts)


def renew(lease: Lease, lease_ms: int) -> UpdateOne:
    """Move the end of a lease that is still held."""
    return UpdateOne(held(lease), [{"$set": {"job.due_ms": {"$add": [NOW, lease_ms]}}}])


def holder(document: Mapping[str, Any]) -> str | None:
    """The token of the lease on the document's job; None without one, and for a job that this program cannot write."""
    match document.get("job"):
        case {"version": int(version)} if version > JOB_VERSION:
            return None
        case {"lease": {"token": str(token)}}:
            return token
    return None


def complete(
    lease: Lease, capture: Capture, fields_of_capture: Expression, retry: Retry | None, *, content_inline: bool
) -> UpdateOne:
    """Store the capture, and end the job or put it back for another attempt.

    Ending it needs operators only, which evaluate nothing. Putting it back needs the server's clock, so a pipeline.
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
        return UpdateOne(held(lease), {"$set": fields, "$inc": {"revision": 1}, "$unset": unset})
    stages: list[Expression] = [
        {
            "$set": {
                **{name: {"$literal": value} for name, value in fields.items()},
                "revision": {"$add": ["$revision", 1]},
                "job": _unleased_job(attempts=1, delay_ms=retry.delay_ms, kept=retry.kept),
            }
        },
        {"$unset": ["failure", other]},
    ]
    return UpdateOne(held(lease), stages)


def fail(lease: Lease, failure: StoredFailure) -> UpdateOne:
    """Store the failure and end the job. A complete record stays complete and is still served."""
    fields = {
        "status": _complete_or(Status.FAILED),
        "failure": {"$literal": failure_fields(failure)},
        "checked_at": failure.failure.at,
        "settled": {"$literal": lease.token},
        "job": "$$REMOVE",
    }
    return UpdateOne(held(lease), [{"$set": fields}])


def postpone(lease: Lease, failure: StoredFailure, delay_ms: int) -> UpdateOne:
    """Store the failure of an attempt. The job is due again after `delay_ms`."""
    fields = {
        "job": _unleased_job(attempts=1, delay_ms=delay_ms),
        "failure": {"$literal": failure_fields(failure)},
        "settled": {"$literal": lease.token},
    }
    return UpdateOne(held(lease), [{"$set": fields}])


def release(lease: Lease) -> UpdateOne:
    """Give the job back, due now, its attempt not counted. `settled` stays, so callers still wait for the outcome."""
    return UpdateOne(held(lease), [{"$set": {"job": _unleased_job(attempts=0, delay_ms=0)}}])


def requeue(url: NormalizedUrl) -> UpdateOne:
    """Give a failed document without a job a new one, with all its attempts, due now."""
    job = {
        "version": JOB_VERSION,
        "host": {"$literal": url.host},
        "queued_ms": NOW,
        "attempts": 0,
        "losses": 0,
        "kept": None,
        "due_ms": NOW,
        "lease": None,
    }
    fields = {"job": {"$mergeObjects": [job]}, "status": _complete_or(Status.PENDING)}
    known = {"failure.failure.code": {"$in": list(FailureCode)}}
    return UpdateOne({**readable(url), **FAILED, **known}, [{"$set": fields}])


def _claimed_job(request: ClaimRequest, lease_ms: int) -> dict[str, Any]:
    """The job as the claim leaves it: in the present shape, with the counts that it had.

    Anything but a number counts as none. An expression that fails on one odd job would fail the whole batch: the
    embedded database refuses all of it.
    """
    lease = {"owner": request.lease.owner, "token": request.lease.token} if request.lease else None
    return {
        "version": JOB_VERSION,
        "host": {"$literal": request.url.host},
        "queued_ms": {"$min": [_number_or("$job.queued_ms", NOW), NOW]},
        "attempts": _number_or("$job.attempts", 0),
        "losses": {"$add": [_number_or("$job.losses", 0), _ONE_WHEN_LEASED]},
        "kept": None if request.run_now else _number_or("$job.kept", None),
        "due_ms": {"$add": [NOW, lease_ms]} if lease else {"$min": [_number_or("$job.due_ms", NOW), NOW]},
        "lease": {"$literal": lease},
    }


def _number_or(field: str, default: Expression | int | None) -> Expression:
    return {"$cond": [{"$isNumber": field}, field, default]}


def _unleased_job(*, attempts: int, delay_ms: int, kept: int | None = None) -> Expression:
    """The job without its lease, `attempts` more counted, due after `delay_ms`. `kept` None leaves its `kept`."""
    job = {
        "attempts": {"$add": ["$job.attempts", attempts]},
        "due_ms": {"$add": [NOW, delay_ms]},
        "lease": None,
    }
    return {"$mergeObjects": ["$job", {**job, "kept": kept} if kept is not None else job]}


def _knows(settled: str | None) -> Expression:
    """Whether the document's last outcome is the one that the caller knows; None: there is no document."""
    if settled == ANY:
        return {"$literal": True}
    if settled is None:
        return {"$eq": [{"$type": "$settled"}, "missing"]}
    return {"$eq": ["$settled", {"$literal": settled}]}


def _complete_or(status: Status) -> Expression:
    return {"$cond": [{"$eq": ["$status", Status.COMPLETE]}, Status.COMPLETE, status]}
