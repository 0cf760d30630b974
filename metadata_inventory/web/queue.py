"""What operators see of the queue, and how they put failed collections back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from metadata_inventory import errors
from metadata_inventory.capture import FailureCode
from metadata_inventory.keys import Scope
from metadata_inventory.view import QueueView, build_queue
from metadata_inventory.web.base import BaseHandler
from metadata_inventory.web.operation import Answer, Operation, operation


class RequeueBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    codes: Annotated[tuple[FailureCode, ...], Meta(description="Only what failed with one of these; none: all.")] = ()


class Requeued(Struct, frozen=True, kw_only=True):
    """`more`: as many as are put back at once were, and others may be left."""

    requeued: int
    more: bool


class QueueHandler(BaseHandler):
    @operation(
        Operation(
            summary="The collections that are owed, and by whom they are held.",
            scope=Scope.ADMIN,
            answers={200: Answer("The queue as it is now.", QueueView)},
            errors=(errors.StorageUnavailable,),
        )
    )
    async def get(self) -> None:
        queue = self.services.queue
        self.reply(200, build_queue(await queue.state(), queue.limit, datetime.now(UTC)), {"Cache-Control": "no-store"})

    @operation(
        Operation(
            summary="Put failed collections back: each is owed again, with all its attempts.",
            scope=Scope.ADMIN,
            body=RequeueBody,
            answers={200: Answer("They are owed.", Requeued)},
            errors=(errors.InvalidRequest, errors.Unavailable),
        )
    )
    async def post(self, body: RequeueBody) -> None:
        self.take_token()
        requeued, more = await self.services.queue.requeue(body.codes)
        self.reply(200, Requeued(requeued=requeued, more=more), {"Cache-Control": "no-store"})
