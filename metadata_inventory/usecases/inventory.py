"""The use cases of clients: look a URL up, collect it, read a record by its id.

Each returns the entry as stored, and knows neither HTTP nor MongoDB. An entry with a capture is a record to serve;
without one, an entry with a job is pending; without either, its failure is the answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from metadata_inventory.errors import DestinationProhibited, InventoryError, RecordNotFound
from metadata_inventory.jobs.dispatcher import Dispatcher
from metadata_inventory.model.destinations import DestinationPolicy
from metadata_inventory.model.policy import CollectPolicy
from metadata_inventory.model.record import ANY, Entry
from metadata_inventory.model.urls import NormalizedUrl, normalize, recall
from metadata_inventory.ports import RecordStore

logger = logging.getLogger(__name__)


Permit = Callable[[], None]


def permit_all() -> None:
    """A permit that is always given."""


class Found(Struct, frozen=True, kw_only=True):
    """An entry that was looked up.

    `hit`: it was stored, and no collection was owed before. `stale`: it is older than asked for, and is refreshed.
    """

    entry: Entry
    hit: bool
    stale: bool = False


class Collected(Struct, frozen=True, kw_only=True):
    """An entry that was to be collected.

    `ended`: the attempt has ended; false when the wait was over first. `reused`: the stored capture is young enough,
    and nothing was collected.
    """

    entry: Entry
    ended: bool
    reused: bool = False


class Inventory:
    def __init__(
        self,
        records: RecordStore,
        dispatcher: Dispatcher,
        policy: CollectPolicy,
        destinations: DestinationPolicy,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._records = records
        self._dispatcher = dispatcher
        self._policy = policy
        self._destinations = destinations
        self._now = now

    async def look_up(
        self, given_url: str, *, max_age_s: float | None, wait_s: float, collect: bool, permit: Permit = permit_all
    ) -> Found:
        """The entry, after a collection was started if one is missing. Waits up to `wait_s` for a record or a failure.

        `permit` is called before a collection is started, and raises when the client may not start one. Raises its
        errors, InvalidUrl, DestinationProhibited, RecordNotFound (only without `collect`), QueueFull and
        StorageUnavailable.
        """
        url = self._admit(given_url)
        entry = await self._records.find(url)
        hit = entry is not None and entry.job is None
        if entry is None:
            if not collect:
                raise RecordNotFound
            permit()
            entry = await self._dispatcher.begin(url, given_url, known_settled=None)
        elif entry.capture is not None:
            stale = collect and self._policy.stale(entry.capture, self._now(), max_age_s)
            if stale:
                self._refresh(url, entry, permit)
            return Found(entry=entry, hit=True, stale=stale)
        elif entry.job is None and collect and not self._failure_answers(entry):
            hit = False
            permit()
            entry = await self._dispatcher.begin(url, given_url, known_settled=entry.settled)
        return Found(entry=await self._wait_to_serve(url, entry, wait_s), hit=hit)

    async def collect(
        self, given_url: str, *, max_age_s: float | None, wait_s: float, permit: Permit = permit_all
    ) -> Collected:
        """Collect now, or join the collection that runs: one attempt, for which the call waits up to `wait_s`.

        With `max_age_s`, a stored capture that is not older is returned instead. Raises as `look_up` does.
        """
        url = self._admit(given_url)
        if max_age_s is not None:
            stored = await self._records.find(url)
            if stored and stored.capture and not self._policy.stale(stored.capture, self._now(), max_age_s):
                return Collected(entry=stored, ended=True, reused=True)
        permit()
        begun = await self._dispatcher.begin(url, given_url, known_settled=ANY, run_now=True, skip_queue=wait_s > 0)
        ended = await self._dispatcher.wait_settled(url, begun, wait_s) if wait_s > 0 else None
        return Collected(entry=ended or begun, ended=ended is not None)

    async def read(self, record_id: str, *, wait_s: float) -> Entry:
        """The entry with this id; no collection is started. Raises RecordNotFound and StorageUnavailable."""
        entry = await self._records.find_by_id(record_id)
        if entry is None:
            raise RecordNotFound
        return await self._wait_to_serve(recall(entry.normalized_url), entry, wait_s)

    async def content(self, entry: Entry) -> bytes | None:
        """The stored body's zstd frame; None when a newer capture has replaced the entry's: read the entry again."""
        return await self._records.content(entry)

    def _admit(self, given_url: str) -> NormalizedUrl:
        url = normalize(given_url)
        if self._destinations.refuses_url(url):
            raise DestinationProhibited
        return url

    def _failure_answers(self, entry: Entry) -> bool:
        return entry.failure is not None and self._policy.failure_answers(entry.failure, self._now())

    def _refresh(self, url: NormalizedUrl, entry: Entry, permit: Permit) -> None:
        """Start a refresh of a stale capture in the background, if the client may start one; nobody waits for it.

        A refresh that failed is not tried again while its stored failure counts (`failure_ttl_s`).
        """
        if entry.job is None and not self._failure_answers(entry):
            try:
                permit()
            except InventoryError:
                return
            self._dispatcher.spawn(self._begin_refresh(url, entry))

    async def _begin_refresh(self, url: NormalizedUrl, entry: Entry) -> None:
        try:
            await self._dispatcher.begin(url, entry.url, known_settled=entry.settled)
        except InventoryError as error:
            logger.info("a refresh was not started: %s", error, extra={"record": entry.id})

    async def _wait_to_serve(self, url: NormalizedUrl, entry: Entry, wait_s: float) -> Entry:
        deadline = time.monotonic() + wait_s
        while entry.capture is None and entry.job is not None and (remaining_s := deadline - time.monotonic()) > 0:
            settled = await self._dispatcher.wait_settled(url, entry, remaining_s)
            if settled is None:
                break
            entry = settled
        return entry
