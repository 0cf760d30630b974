"""Carries the updates of a batch out, and repeats them until the database has answered or the bound is over.

After a timeout it is not known whether the write took effect, or will. The same write is then sent again, which
`claims` makes harmless. A claim that takes effect after the bound leaves a lease that nobody uses, and that runs out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pymongo
from bson.errors import BSONError
from pymongo import UpdateOne
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from metadata_inventory.errors import StorageUnavailable
from metadata_inventory.storage.connection import Connection, name_of

logger = logging.getLogger(__name__)

DUPLICATE_KEY = 11000
PAUSE_S = 0.05

# The driver's and BSON's errors for an operation that cannot be put into a message.
UNSENDABLE = (BSONError, OverflowError, UnicodeError)


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a batch, and about how many bytes it is."""

    operation: UpdateOne
    size_bytes: int = 4096


async def carry_out(connection: Connection, writes: Sequence[Write]) -> list[Exception | None]:
    """For each write, None when it was carried out, else its own error: a bad one does not fail the others.

    Raises StorageUnavailable, for all of them, when the database did not answer within the connection's bound.
    """
    deadline = time.monotonic() + connection.timeout_s
    async with connection.available():
        try:
            return await _write_repeatedly(connection, [write.operation for write in writes], deadline)
        except UNSENDABLE as error:
            if len(writes) == 1:
                return [error]
    return [answer for write in writes for answer in await carry_out(connection, [write])]


async def _write_repeatedly(
    connection: Connection, operations: list[UpdateOne], deadline: float
) -> list[Exception | None]:
    while True:
        try:
            with pymongo.timeout(max(PAUSE_S, deadline - time.monotonic())):
                await connection.records.bulk_write(operations, ordered=False)
            return [None] * len(operations)
        except PyMongoError as error:
            if isinstance(error, BulkWriteError) and not _is_unknown(error):
                return _read_errors(error, len(operations))
            if not _is_unknown(error) or time.monotonic() >= deadline:
                raise
            logger.warning("%d writes were not answered and are repeated: %s", len(operations), name_of(error))
            await asyncio.sleep(PAUSE_S)


def _is_unknown(error: PyMongoError) -> bool:
    """Whether the write may have been carried out, or may yet be, although an error came back.

    That is also so after a write concern's error: the primary has written, and no majority has confirmed it. The
    repeated write changes nothing, and waits until a majority has the state that it found.
    """
    if isinstance(error, BulkWriteError) and (error.details or {}).get("writeConcernErrors"):
        return True
    return error.timeout or isinstance(error, AutoReconnect)


def _read_errors(error: BulkWriteError, count: int) -> list[Exception | None]:
    """Each operation's error. A duplicate key is none: another insert came first, or the document is unreadable."""
    answers: list[Exception | None] = [None] * count
    for failed in (error.details or {}).get("writeErrors", []):
        if failed["code"] != DUPLICATE_KEY:
            logger.warning("the database refused a write: error %s", failed["code"])
            answers[failed["index"]] = StorageUnavailable("The database refused to write.")
    return answers
