"""Owns the instants at which the engine gives up what collections wait for, the earliest first.

`take_due` costs O(1) while nothing is due, and `add` O(log n). The entry of a stage that has ended is not removed: the
collection's `give_up_at` differs from it by then, so it is skipped. Such entries never outnumber the collections by
much, because they are swept when they do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush

from metadata_inventory.collect.engine.collection import Collection

_SWEPT_FROM = 64  # entries; below this a sweep is not worth it


class Deadlines:
    """The queue of one engine. `collections` are those under way, by token."""

    def __init__(self, collections: Mapping[str, Collection]) -> None:
        self._collections = collections
        self._queue: list[tuple[float, str]] = []  # a heap of instants (time.monotonic) and tokens

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, collection: Collection) -> None:
        """Queue the collection's `give_up_at`, which its stage has just set."""
        assert collection.give_up_at is not None
        heappush(self._queue, (collection.give_up_at, collection.token))
        if len(self._queue) > 2 * len(self._collections) + _SWEPT_FROM:
            self._queue = [
                (one.give_up_at, one.token) for one in self._collections.values() if one.give_up_at is not None
            ]
            heapify(self._queue)

    def take_due(self) -> Iterator[Collection]:
        """The collections whose stage is to be given up now. The caller ends that stage before it takes the next."""
        instant = time.monotonic()
        while self._queue and self._queue[0][0] <= instant:
            give_up_at, token = heappop(self._queue)
            collection = self._collections.get(token)
            if collection is not None and collection.give_up_at == give_up_at:
                yield collection
