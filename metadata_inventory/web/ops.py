"""What operators and their machines ask: does it live, can it serve."""

from __future__ import annotations

from msgspec import Struct

from metadata_inventory import errors
from metadata_inventory.web.base import BaseHandler
from metadata_inventory.web.operation import Answer, Operation, operation


class Health(Struct, frozen=True):
    """`status` is "ok"."""

    status: str = "ok"


class LiveHandler(BaseHandler):
    @operation(
        Operation(
            summary="Answers as long as the process does.", scope=None, answers={200: Answer("It lives.", Health)}
        )
    )
    async def get(self) -> None:
        self.reply(200, Health(), {"Cache-Control": "no-store"})


class ReadyHandler(BaseHandler):
    @operation(
        Operation(
            summary="Answers 200 only when a request could be served: the database reads and writes.",
            scope=None,
            answers={200: Answer("A request would be served.", Health)},
            errors=(errors.StorageUnavailable,),
        )
    )
    async def get(self) -> None:
        await self.services.check()
        self.reply(200, Health(), {"Cache-Control": "no-store"})
