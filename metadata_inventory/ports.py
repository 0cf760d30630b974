"""What the use cases need from outside: the stores and the collector. Adapters implement it, bootstrap joins them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from metadata_inventory.model.capture import Capture, CollectionOrder, Outcome
from metadata_inventory.model.record import (
    ClaimRequest,
    Cursor,
    DueJobs,
    Entry,
    Lease,
    QueueState,
    Retry,
    StoredFailure,
)
from metadata_inventory.model.urls import NormalizedUrl


class RecordStore(Protocol):
    """Where entries are read. Every method raises StorageUnavailable after a bounded wait."""

    async def find(self, url: NormalizedUrl) -> Entry | None:
        """The entry as it is now, without `content` when the body is large; None when the URL is unknown."""

    async def find_by_id(self, record_id: str) -> Entry | None:
        """As `find`, by the record's id."""

    async def content(self, entry: Entry) -> bytes | None:
        """The zstd frame of the entry's body, also when `find` left it out; None when a newer capture replaced it."""

    async def check(self) -> None:
        """Read and write something that is no record, so that a full or read-only database is noticed."""


class ClaimStore(Protocol):
    """Where work is owed and taken. Writes are idempotent: repeated with the same token they change nothing more.

    A lease runs on the server's clock. Whoever holds its token may complete, fail, release or renew it; with any
    other token these change nothing.
    """

    async def claim(self, request: ClaimRequest) -> Entry:
        """One atomic write, then the entry as it is now, its capture left out.

        The caller holds the job when the entry's job has the token of the request's lease. Without a lease in the
        request, a job is put down for any node that has room.
        """

    async def renew(self, leases: Sequence[Lease]) -> dict[str, bool]:
        """Extend the leases; by token, whether it is still held. Of those left out nothing is known."""

    async def complete(self, lease: Lease, capture: Capture, retry: Retry | None = None) -> Entry | None:
        """Store the capture as the next revision; None when the lease was no longer held.

        It ends the job, or with `retry` counts an attempt and lets the job be taken again.
        """

    async def fail(self, lease: Lease, failure: StoredFailure) -> Entry | None:
        """Store the failure and end the job; a record that was complete stays so. None as in `complete`."""

    async def postpone(self, lease: Lease, failure: StoredFailure, *, delay_ms: int) -> Entry | None:
        """Store the failure of an attempt; the job is due again after `delay_ms`. None as in `complete`."""

    async def release(self, lease: Lease) -> None:
        """Give the job back at once, as if it had never been taken."""

    async def due(self, limit: int, *, after: Cursor | None = None, except_hosts: Collection[str] = ()) -> DueJobs:
        """Up to `limit` jobs that anybody may take now, longest due first; those behind `after`."""

    async def backlog(self, limit: int) -> int:
        """How many jobs nobody holds, due or not, counted up to `limit`."""

    async def backlog_by_host(self, at_least: int) -> dict[str, int]:
        """The hosts of which nobody holds so many jobs, and how many these are."""


class QueueStore(Protocol):
    """What operators see of the jobs, and how they put failed ones back."""

    async def state(self, leases: int) -> QueueState:
        """All jobs counted, and up to `leases` running ones."""

    async def requeue(self, codes: Collection[str], limit: int, failed_before: datetime | None) -> tuple[int, bool]:
        """Owe a collection again for up to `limit` failed ones with one of the codes (none given: with any).

        How many were put back, each by one atomic write, so that none is owed twice; and whether others may be left.
        With `failed_before`, only what failed before it. When it raises, some may have been put back; asking again
        is harmless.
        """


class Collector(Protocol):
    """Carries out orders. Each ends as an outcome, or as CollectorUnavailable: then nothing has been done of it."""

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        """How many more collections of this host can begin now, after one of each of the hosts `ahead` has begun."""

    def full(self) -> bool:
        """Whether there is room for no host at all."""

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        """The outcome within the collector's own deadline, or a few times that when a process was lost meanwhile.

        Cancelling gives the order up.
        """
