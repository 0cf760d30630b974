"""Operations that arrive together go to the database together.

A batch is what arrived while the last one was under way: a lone operation never waits, and under load the price of a
call to the driver is shared. At most one batch of a kind is on its way, bounded in items and bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.tasks import cancel_and_wait

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Groups calls of `run`, which is given the items in order and returns an answer or an exception for each.

    When it raises, that is for the whole batch; StorageUnavailable is for all that wait behind it as well: what could
    not be had for one batch would keep the next ones waiting as long again.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        size: Callable[[Item], int] = lambda item: 0,
        max_items: int = 200,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size = size
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        """The answer for this item; `run`'s exception when its batch failed."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Break off what is under way; whoever waits for it is cancelled."""
        if self._worker is not None:
            await cancel_and_wait([self._worker])
        for _, answer in self._waiting:
            answer.cancel()
        self._waiting.clear()

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                if batch:
                    await self._answer(batch)
        finally:
            self._worker = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        batch_bytes = 0
        while self._waiting and len(batch) < self._max_items:
            item, answer = self._waiting[0]
            if answer.cancelled():
                self._waiting.popleft()
                continue
            batch_bytes += self._size(item)
            if batch and batch_bytes > self._max_bytes:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._run([item for item, _ in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} items")
        except StorageUnavailable as error:
            answers = [error] * (len(batch) + len(self._waiting))
            batch += self._waiting
            self._waiting.clear()
        except Exception as error:
            answers = [error] * len(batch)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
