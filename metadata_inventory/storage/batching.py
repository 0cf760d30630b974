"""Sends operations that arrive together to the database together.

A batch has the operations that arrived while the batch before it was under way. So a lone operation never waits, and
under load many operations share the cost of one call to the driver. At most one batch of a Batcher is under way,
bounded in items and bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.tasks import cancel_and_wait

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Groups calls of `run`, which gets the items in order and returns a result or an exception for each.

    An exception that `run` raises is for its whole batch. StorageUnavailable is also for every item that waits behind
    the batch: each would wait as long again, for a database that has just not answered.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        size: Callable[[Item], int] = lambda item: 0,
        max_items: int = 200,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size = size
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result for this item. Raises what `run` raised or returned for it."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._running is None:
            self._running = asyncio.create_task(self._run_batches())
        return await result

    async def close(self) -> None:
        """Cancel the batch under way and everything that waits; their callers are cancelled."""
        if self._running is not None:
            await cancel_and_wait([self._running])
        for _, result in self._waiting:
            result.cancel()
        self._waiting.clear()

    async def _run_batches(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                if batch:
                    await self._run_batch(batch)
        finally:
            self._running = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        batch_bytes = 0
        while self._waiting and len(batch) < self._max_items:
            item, result = self._waiting[0]
            if result.cancelled():
                self._waiting.popleft()
                continue
            batch_bytes += self._size(item)
            if batch and batch_bytes > self._max_bytes:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
            if len(results) != len(batch):
                raise ValueError(f"{len(results)} results for {len(batch)} items")
        except StorageUnavailable as error:
            results = [error] * (len(batch) + len(self._waiting))
            batch += self._waiting
            self._waiting.clear()
        except Exception as error:
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
