"""What operators see of the queue, and how they put failed collections back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from metadata_inventory import errors
from metadata_inventory.access.keys import Scope
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.view import QueueView, build_queue
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation


class RequeueBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    codes: Annotated[tuple[FailureCode, ...], Meta(description="Only what failed with one of these; none: all.")] = ()
    failed_before: Annotated[
        Annotated[datetime, Meta(tz=True)] | None, Meta(description="Only what failed before this instant; null: all.")
    ] = None


class Requeued(Struct, frozen=True, kw_only=True):
    """`more`: others may be left, for a next call. Given this `failed_before`, that leaves alone what has been put back
    and failed again: it is the one of the request, else when the service began with it."""

    requeued: int
    more: bool
    failed_before: datetime


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
        begun_at = datetime.now(UTC)
        failed_before = _in_utc(body.failed_before)
        requeued, more = await self.services.queue.requeue(body.codes, failed_before)
        answer = Requeued(requeued=requeued, more=more, failed_before=failed_before or begun_at)
        self.reply(200, answer, {"Cache-Control": "no-store"})


def _in_utc(instant: datetime | None) -> datetime | None:
    """The driver takes no instant that in UTC lies outside the years 1 to 9999."""
    try:
        return None if instant is None else instant.astimezone(UTC)
    except OverflowError as error:
        raise errors.InvalidParameter("failed_before is out of range.") from error
