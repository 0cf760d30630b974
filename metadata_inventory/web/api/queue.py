"""`/api/inventory/queue/`: the jobs that are owed, and the requeue of failed entries."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from metadata_inventory import errors
from metadata_inventory.access.keys import Scope
from metadata_inventory.clock import now
from metadata_inventory.model.capture import FailureCode
from metadata_inventory.model.view import QueueView, build_queue
from metadata_inventory.web.http.handler import BaseHandler
from metadata_inventory.web.http.operation import Answer, Operation, operation

_INSTANT = "null or an instant with its time zone, such as 2026-01-31T09:30:00Z"


class RequeueBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    codes: Annotated[
        tuple[FailureCode, ...], Meta(description="Requeue entries that failed with one of these codes; empty: any.")
    ] = ()
    failed_before: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="Requeue entries that failed before this instant; null: any.", extra={"expected": _INSTANT}),
    ] = None


class Requeued(Struct, frozen=True, kw_only=True):
    """The result of one call. `more`: further failed entries may wait for a next call.

    `failed_before` is that of the request, else the instant at which this call began. Sent with the next call, it keeps
    entries out that were requeued by this call and have failed again.
    """

    requeued: int
    more: bool
    failed_before: datetime


class QueueHandler(BaseHandler):
    @operation(
        Operation(
            summary="Read the state of the queue: the jobs that are owed, and which workers hold them.",
            scope=Scope.ADMIN,
            answers={200: Answer("The present state of the queue.", QueueView)},
            errors=(errors.StorageUnavailable,),
        )
    )
    async def get(self) -> None:
        queue = self.services.queue
        self.reply(200, build_queue(await queue.state(), queue.limit, now()), {"Cache-Control": "no-store"})

    @operation(
        Operation(
            summary="Requeue failed entries: each gets a new job, with all its attempts.",
            scope=Scope.ADMIN,
            body=RequeueBody,
            answers={200: Answer("The entries have been requeued.", Requeued)},
            errors=(errors.InvalidRequest, errors.Unavailable),
        )
    )
    async def post(self, body: RequeueBody) -> None:
        self.count_work()
        begun_at = now()
        failed_before = _in_utc(body.failed_before)
        requeued, more = await self.services.queue.requeue(body.codes, failed_before)
        answer = Requeued(requeued=requeued, more=more, failed_before=failed_before or begun_at)
        self.reply(200, answer, {"Cache-Control": "no-store"})


def _in_utc(instant: datetime | None) -> datetime | None:
    """MongoDB's driver takes no instant that lies outside the years 1 to 9999 in UTC. Raises InvalidParameter."""
    try:
        return None if instant is None else instant.astimezone(UTC)
    except OverflowError as error:
        shown = instant.isoformat() if instant else ""
        raise errors.InvalidParameter(f"failed_before must lie in the years 1 to 9999 of UTC, not {shown}.") from error
