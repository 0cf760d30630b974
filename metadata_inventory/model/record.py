"""The record: what the database knows of one URL (`Entry`), and what the API shows of it (`Record`). Pure.

An entry's `status` says what can be served: pending (nothing yet), complete or failed. Its `job` says whether work is
owed. The two are independent: a refresh of a complete record has a job and goes on serving the old capture.
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
    """A claim on the job of one URL: who holds it and the fencing token that proves it."""

    url: NormalizedUrl
    owner: str
    token: str


class Job(Struct, frozen=True, kw_only=True):
    """Work that is owed. `due_at` is when anybody may take it: with a lease, when that runs out; else when to try.

    `attempts` have failed; `losses` are leases that ran out, of processes that were lost with the job or before it.
    `kept` is the fullness (`policy.fullness`) of the unfinished capture that this job has stored, None before one.
    """

    queued_at: datetime
    due_at: datetime
    attempts: int
    losses: int
    kept: int | None
    owner: str | None
    token: str | None


class Retry(Struct, frozen=True, kw_only=True):
    """What follows an unfinished capture: another attempt after `delay_ms`, to bring at least the fullness `kept`."""

    delay_ms: int
    kept: int


class StoredFailure(Struct, frozen=True, kw_only=True):
    """The last failure since the last capture. It answers until `retry_at`, under the rules that `policy` names."""

    failure: Failure
    attempts: int
    retry_at: datetime
    policy: str


class Entry(Struct, frozen=True, kw_only=True):
    """One URL's document. `settled` is the token of the last accepted outcome, "" before the first."""

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
    """Where a due job stands among them: from when on it was due, in ms since 1970, and its record's id."""

    due_ms: int
    id: str


class DueJobs(Struct, frozen=True, kw_only=True):
    """Entries that can be read, captures left out, and the place of the last one, read or not; None: there was none."""

    entries: tuple[Entry, ...]
    last: Cursor | None


class QueueDepth(Struct, frozen=True, kw_only=True):
    """How many jobs are in one state. `codes` counts those among them whose last attempt failed, by failure code."""

    count: int = 0
    oldest_queued_at: datetime | None = None
    next_due_at: datetime | None = None
    codes: Mapping[str, int] = {}


class QueueState(Struct, frozen=True, kw_only=True):
    """The jobs of all nodes. `leases` are the running ones whose lease ends first, as entries without captures."""

    waiting: QueueDepth  # due, held by nobody
    running: QueueDepth  # leased
    retrying: QueueDepth  # waiting for the time of their next attempt
    abandoned: QueueDepth  # their lease has run out: whoever has room takes them
    failed: Mapping[str, int]  # stored failures behind which no work is owed, by failure code
    leases: tuple[Entry, ...]


class ClaimRequest(Struct, frozen=True, kw_only=True):
    """What a caller wants started.

    `given_url` is the text as it came, kept when the URL is new. `lease` is taken when the job is free; None puts the
    job down for others. `known_settled` is the `Entry.settled` that the caller saw, so that a decision made on an
    older state starts nothing: None stands for "unknown URL", `ANY` for whatever there is. `run_now` takes a job that
    waits for its retry before its time.
    """

    url: NormalizedUrl
    given_url: str
    requested_at: datetime
    lease: Lease | None
    known_settled: str | None
    run_now: bool = False


ANY = "*"
