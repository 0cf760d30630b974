"""The interfaces of the stores and the collector, as use cases and jobs need them.

`storage` and `collect` implement them; `service.bootstrap` joins the two sides.
"""

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
    """Reads entries. Every method raises StorageUnavailable after a bounded wait.

    `find`, `find_by_id` and `content` raise RecordUnreadable for a document that this program cannot read.
    """

    async def find(self, url: NormalizedUrl) -> Entry | None:
        """The entry as it is now, without `content` when the body is large; None when the URL is unknown."""

    async def find_by_id(self, record_id: str) -> Entry | None:
        """As `find`, by the record's id."""

    async def content(self, entry: Entry) -> bytes | None:
        """The zstd frame of the entry's body, also when `find` left it out; None when a newer capture replaced it."""

    async def check(self) -> None:
        """Read and write a document that is no record, so that a full or read-only database is noticed."""


class ClaimStore(Protocol):
    """Claims and settles jobs. Writes are idempotent: repeated with the same token, they change nothing more.

    A lease ends by the database server's clock. Only writes with the lease's token complete, fail, postpone, release
    or renew its job; writes with any other token change nothing. For a document that this program cannot read, `claim`
    raises RecordUnreadable, and settling returns None.
    """

    async def claim(self, request: ClaimRequest) -> Entry:
        """Claim by one atomic write, then read the entry, without its capture.

        The caller holds the job when the entry's job has the token of the request's lease. Without a lease in the
        request, the job is put into the backlog, for any worker that has a lane with room.
        """

    async def renew(self, leases: Sequence[Lease]) -> dict[str, bool]:
        """Extend the leases. By token, whether the lease is still held; for a token left out, that is not known."""

    async def complete(self, lease: Lease, capture: Capture, retry: Retry | None = None) -> Entry | None:
        """Store the capture as the next revision; None when the lease was no longer held.

        Ends the job; with `retry`, counts an attempt instead and gives the job a time for its next one.
        """

    async def fail(self, lease: Lease, failure: StoredFailure) -> Entry | None:
        """Store the failure and end the job; a complete record stays complete. None as in `complete`."""

    async def postpone(self, lease: Lease, failure: StoredFailure, *, delay_ms: int) -> Entry | None:
        """Store the failure of an attempt; the job is due again after `delay_ms`. None as in `complete`."""

    async def release(self, lease: Lease) -> None:
        """Release the job at once, as if it had never been claimed."""

    async def due(self, limit: int, *, after: Cursor | None = None, except_hosts: Collection[str] = ()) -> DueJobs:
        """Up to `limit` jobs that any worker may claim now, longest due first, from `after` on."""

    async def backlog(self, limit: int) -> int:
        """How many jobs no worker holds, due or not, counted up to `limit`."""

    async def backlog_by_host(self, at_least: int) -> dict[str, int]:
        """By host, how many of its jobs no worker holds; hosts with `at_least` of them only."""


class QueueStore(Protocol):
    """The jobs of all workers as operators see them, and requeueing."""

    async def state(self, leases: int) -> QueueState:
        """All jobs counted, and up to `leases` running ones."""

    async def requeue(self, codes: Collection[str], limit: int, failed_before: datetime | None) -> tuple[int, bool]:
        """Give a job again to up to `limit` failed entries with one of the codes (none given: with any).

        Returns how many were requeued, each by one atomic write, so that none gets two jobs; and whether others may be
        left. With `failed_before`, only entries that failed before it. When it raises, some may have been requeued;
        calling it again is harmless.
        """


class Collector(Protocol):
    """Carries out orders. Each ends with an outcome or CollectorUnavailable; then no request for it is under way."""

    def room(self, host: str, ahead: Sequence[str] = ()) -> int:
        """How many more collections of this host can start now, once one for each host in `ahead` has started."""

    def full(self) -> bool:
        """Whether no lane has room, for any host."""

    async def collect(self, order: CollectionOrder, host: str) -> Outcome:
        """The outcome, within the collector's own deadline, or a few times that when a lane process is lost meanwhile.

        Cancelling the call abandons the order.
        """
