"""The stored values of one URL: the entry, its job and its failure. `view` has those that the API shows. Pure.

An entry's `status` says what can be served: pending (nothing yet), complete or failed. Its `job` says whether work is
owed. The two are independent: a refresh of a complete record has a job, and the old capture is served meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from metadata_inventory.model.capture import Capture, Failure
from metadata_inventory.model.urls import NormalizedUrl


class Status(StrEnum):
    PENDING = "pending"  # nothing to serve yet, work is owed
    COMPLETE = "complete"  # a capture is stored
    FAILED = "failed"  # no capture, and the last attempt failed


class Lease(Struct, frozen=True):
    """The right to run the job of one URL. `owner` names the worker that holds it; `token` is the fencing token."""

    url: NormalizedUrl
    owner: str
    token: str


class Job(Struct, frozen=True, kw_only=True):
    """A collection that is owed. From `due_at` on any worker may claim it: its lease has ended, or its time has come.

    `attempts` counts failed attempts; `losses` counts leases that ran out because their worker was lost or silent.
    `kept` is the fullness (`policy.fullness`) of the unfinished capture that this job has stored; None before one.
    """

    queued_at: datetime
    due_at: datetime
    attempts: int
    losses: int
    kept: int | None
    owner: str | None
    token: str | None


class Retry(Struct, frozen=True, kw_only=True):
    """The attempt after an unfinished capture: due after `delay_ms`. It must bring at least the fullness `kept`."""

    delay_ms: int
    kept: int


class StoredFailure(Struct, frozen=True, kw_only=True):
    """The last failure since the last capture.

    It is the answer until `retry_at`; a prohibited destination only while the policy's fingerprint is `policy`.
    """

    failure: Failure
    attempts: int
    retry_at: datetime
    policy: str


class Entry(Struct, frozen=True, kw_only=True):
    """One URL as it is stored. `settled` is the token of the last accepted outcome, "" before the first."""

    id: str
    url: str
    normalized_url: str
    status: Status
    revision: int
    requested_at: datetime
    checked_at: datetime | None
    unchanged_count: int
    settled: str
    capture: Capture | None
    failure: StoredFailure | None
    job: Job | None


class Cursor(NamedTuple):
    """A position among the due jobs: the instant from which a job is due, in ms since 1970, and its record's id."""

    due_ms: int
    id: str


class DueJobs(Struct, frozen=True, kw_only=True):
    """Readable entries without captures, and the cursor of the last job found, readable or not; None if none was."""

    entries: tuple[Entry, ...]
    last: Cursor | None


class QueueDepth(Struct, frozen=True, kw_only=True):
    """How many jobs are in one state. `codes` counts those whose last attempt failed, by failure code."""

    count: int = 0
    oldest_queued_at: datetime | None = None
    next_due_at: datetime | None = None
    codes: Mapping[str, int] = {}


class QueueState(Struct, frozen=True, kw_only=True):
    """The jobs of all workers. `leases` are the running jobs whose leases end first, as entries without captures."""

    waiting: QueueDepth  # due, and held by no worker
    running: QueueDepth  # leased
    retrying: QueueDepth  # they wait for the time of their next attempt
    abandoned: QueueDepth  # their lease has run out: any worker may take them over
    failed: Mapping[str, int]  # stored failures without a job, by failure code
    leases: tuple[Entry, ...]


class ClaimRequest(Struct, frozen=True, kw_only=True):
    """A request to owe a collection, or to start it.

    `given_url` is the URL's text as it came, stored when the URL is new. `lease` is put on the job when it is free;
    None puts the job into the backlog. `known_settled` is the `Entry.settled` that the caller read, so that a decision
    made on an older state starts nothing: None means an unknown URL, `ANY` means any state. `run_now` claims a job
    that waits for its next attempt before it is due.
    """

    url: NormalizedUrl
    given_url: str
    requested_at: datetime
    lease: Lease | None
    known_settled: str | None
    run_now: bool = False


ANY = "*"
