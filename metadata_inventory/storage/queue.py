"""QueueStore on MongoDB: the jobs of all nodes counted and listed for operators, and failed ones requeued."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from metadata_inventory.errors import RecordUnreadable
from metadata_inventory.model.record import Entry, QueueDepth, QueueState
from metadata_inventory.model.urls import NormalizedUrl, recall
from metadata_inventory.storage import claims, filters
from metadata_inventory.storage.connection import Connection
from metadata_inventory.storage.documents import WITHOUT_CAPTURE, Document, to_instant, to_readable_head

_DUE: filters.Expression = {"$lte": ["$job.due_ms", filters.NOW]}
_LEASED: filters.Expression = {"$ne": [{"$ifNull": ["$job.lease", None]}, None]}
_STATE: filters.Expression = {
    "$cond": [
        _LEASED,
        {"$cond": [_DUE, "abandoned", "running"]},
        {"$cond": [_DUE, "waiting", "retrying"]},
    ]
}
_BY_STATE: list[dict[str, Any]] = [
    {"$match": filters.OWED},
    {
        "$group": {
            "_id": {"state": _STATE, "code": {"$ifNull": ["$failure.failure.code", None]}},
            "count": {"$sum": 1},
            "queued_ms": {"$min": "$job.queued_ms"},
            "due_ms": {"$min": "$job.due_ms"},
        }
    },
]
_FAILED_BY_CODE: list[dict[str, Any]] = [
    {"$match": filters.FAILED},
    {"$group": {"_id": "$failure.failure.code", "count": {"$sum": 1}}},
]

# Whether a failed document can be read shows without its exchanges, which may be large.
_FAILED_HEAD = {**WITHOUT_CAPTURE, "failure.failure.exchanges": 0}

# Requeued by one bulk write, which has to end within the connection's bound: the embedded database takes up to 15 ms
# for each.
WRITTEN_AT_ONCE = 25
# Pages that one call reads when unreadable documents take the places of readable ones.
FAILED_PAGES = 20


class MongoQueue:
    """Documents that cannot be read are counted, but neither listed nor requeued."""

    def __init__(self, connection: Connection) -> None:
        self._timeout_s = connection.timeout_s
        self._records = connection.records
        self._available = connection.available

    async def state(self, leases: int) -> QueueState:
        async with self._available():
            groups = [document async for document in await self._records.aggregate(_BY_STATE)]
            failed = [document async for document in await self._records.aggregate(_FAILED_BY_CODE)]
            running = [] if leases == 0 else await self._running(leases)  # to MongoDB a limit of 0 is none
        return QueueState(
            waiting=_depth(groups, "waiting"),
            running=_depth(groups, "running"),
            retrying=_depth(groups, "retrying"),
            abandoned=_depth(groups, "abandoned"),
            failed=_count_codes((group["_id"], group["count"]) for group in failed),
            leases=tuple(running),
        )

    async def _running(self, limit: int) -> list[Entry]:
        found = self._records.find(filters.RUNNING, WITHOUT_CAPTURE).sort(filters.DUE_ORDER).limit(limit)
        return [entry async for document in found if (entry := to_readable_head(document))]

    async def requeue(self, codes: Collection[str], limit: int, failed_before: datetime | None) -> tuple[int, bool]:
        wanted: dict[str, Any] = dict(filters.FAILED)
        if codes:
            wanted["failure.failure.code"] = {"$in": list(codes)}
        if failed_before is not None:
            wanted["failure.failure.at"] = {"$lt": failed_before}
        async with self._available():
            urls = await self._find_readable(wanted, limit)
            return await self._put_back(urls, more=len(urls) == limit)

    async def _find_readable(self, wanted: dict[str, Any], limit: int) -> list[NormalizedUrl]:
        """The URLs of up to `limit` documents. Unreadable ones do not count, so that they do not hide others.

        Read page by page, since without a limit the embedded database collects every match before it returns the first.
        """
        urls: list[NormalizedUrl] = []
        for page in range(FAILED_PAGES):
            found = self._records.find(wanted, _FAILED_HEAD).skip(page * limit).limit(limit)
            documents = [document async for document in found]
            heads = [entry for document in documents if (entry := to_readable_head(document))]
            urls += [recall(entry.normalized_url) for entry in heads]
            if len(documents) < limit or len(urls) >= limit:
                break
        return urls[:limit]

    async def _put_back(self, urls: Sequence[NormalizedUrl], *, more: bool) -> tuple[int, bool]:
        """Write slice by slice, each within the whole bound. On a slow database, stop after some of the slices."""
        deadline = time.monotonic() + self._timeout_s
        put_back = 0
        for start in range(0, len(urls), WRITTEN_AT_ONCE):
            if start and time.monotonic() >= deadline:
                return put_back, True
            slice_ = [claims.requeue(url) for url in urls[start : start + WRITTEN_AT_ONCE]]
            put_back += (await self._records.bulk_write(slice_, ordered=False)).modified_count
        return put_back, more


def _depth(groups: Sequence[Document], state: str) -> QueueDepth:
    ours = [group for group in groups if group["_id"]["state"] == state]
    return QueueDepth(
        count=sum(group["count"] for group in ours),
        oldest_queued_at=_earliest(group["queued_ms"] for group in ours),
        next_due_at=_earliest(group["due_ms"] for group in ours),
        codes=_count_codes((code, group["count"]) for group in ours if (code := group["_id"]["code"]) is not None),
    )


def _earliest(instants_ms: Iterable[Any]) -> datetime | None:
    """The earliest of the instants. A value that is no number comes from an unreadable job, and is left out."""
    try:
        return to_instant(min(ms for ms in instants_ms if isinstance(ms, int)))
    except (OverflowError, ValueError, OSError):  # none is left, or it lies outside of what Python can hold
        return None


def _count_codes(groups: Iterable[tuple[Any, int]]) -> dict[str, int]:
    """Failure code → count. Unknown codes are shown as they are; what is no text counts as `record_unreadable`."""
    counts: dict[str, int] = {}
    for code, count in groups:
        name = code if isinstance(code, str) else RecordUnreadable.code
        counts[name] = counts.get(name, 0) + count
    return counts
