"""`/livez` and `/readyz`: whether the process lives, and whether it can serve requests.

Both answer without an API key and under any Host header, as load balancers and orchestrators know neither.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation

# How long the result of a check is given to further requests.
BELIEVED_S = 1.0


class Health(Struct, frozen=True):
    """`status` is "ok"."""

    status: str = "ok"


class ReadinessCheck:
    """Runs `check` at most once a second and shares its result: it asks the database, and needs no API key."""

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self._check = check
        self._latest: asyncio.Future[None] | None = None
        self._believed_until = 0.0

    async def __call__(self) -> None:
        """Raises what the check raises: StorageUnavailable, CollectorUnavailable."""
        if self._latest is None or (self._latest.done() and time.monotonic() >= self._believed_until):
            self._latest = asyncio.ensure_future(self._run())
        await asyncio.shield(self._latest)

    async def _run(self) -> None:
        try:
            await self._check()
        finally:
            self._believed_until = time.monotonic() + BELIEVED_S


class HealthHandler(BaseHandler):
    any_host = True

    def reply_ok(self) -> None:
        self.reply(200, Health(), {"Cache-Control": "no-store"})


class LiveHandler(HealthHandler):
    @operation(
        Operation(
            summary="Check that the process lives.",
            scope=None,
            answers={200: Answer("The process lives.", Health)},
        )
    )
    async def get(self) -> None:
        self.reply_ok()


class ReadyHandler(HealthHandler):
    @operation(
        Operation(
            summary="Check that requests can be served: the database works, and so does a collector.",
            scope=None,
            answers={200: Answer("Requests can be served.", Health)},
            errors=(errors.StorageUnavailable, errors.CollectorUnavailable),
        )
    )
    async def get(self) -> None:
        await self.services.check()
        self.reply_ok()
