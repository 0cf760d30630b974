"""What operators and their machines ask, by whatever name they know: does it live, can it serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation

BELIEVED_S = 1.0


class Health(Struct, frozen=True):
    """`status` is "ok"."""

    status: str = "ok"


class ReadinessCheck:
    """One look at the database for all who ask within a second: nobody needs a key for it."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._looking: asyncio.Future[None] | None = None
        self._until = 0.0

    async def __call__(self) -> None:
        """Raises what the look raises: StorageUnavailable, CollectorUnavailable."""
        if self._looking is None or (self._looking.done() and time.monotonic() >= self._until):
            self._looking = asyncio.ensure_future(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            await self._check()
        finally:
            self._until = time.monotonic() + BELIEVED_S


class LiveHandler(BaseHandler):
    any_host = True

    @operation(
        Operation(
            summary="Answers as long as the process does.", scope=None, answers={200: Answer("It lives.", Health)}
        )
    )
    async def get(self) -> None:
        self.reply(200, Health(), {"Cache-Control": "no-store"})


class ReadyHandler(BaseHandler):
    any_host = True

    @operation(
        Operation(
            summary="Answers 200 only when a request could be served: the database works, and a collector.",
            scope=None,
            answers={200: Answer("A request would be served.", Health)},
            errors=(errors.StorageUnavailable, errors.CollectorUnavailable),
        )
    )
    async def get(self) -> None:
        await self.services.check()
        self.reply(200, Health(), {"Cache-Control": "no-store"})
