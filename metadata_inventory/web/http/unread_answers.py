"""Limits the bytes of large answers that clients have not read yet, and the time for reading one answer.

An answer that its client does not read stays in the memory of this process.
"""

from __future__ import annotations

import asyncio

from tornado.iostream import IOStream

from metadata_inventory.errors import Unavailable

# The bytes of large answers that clients have not read yet, in one process. The first answer is sent whatever its size.
UNREAD_BYTES = 256 * 1024 * 1024
# Smaller answers are not counted.
LARGE_BYTES = 64 * 1024


class UnreadAnswers:
    """The answers of one process that are being written. A client has `timeout_s` to read one."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._bytes = 0

    def check_room(self, size: int) -> None:
        """Raises Unavailable when an answer of this size would pass the limit, together with those of other clients."""
        if size > LARGE_BYTES and self._bytes and self._bytes + size > UNREAD_BYTES:
            raise Unavailable("Other clients are still reading large answers; ask again in 1 s.", retry_after_s=1)

    def watch(self, written: asyncio.Future[None], size: int, stream: IOStream | None) -> None:
        """Count the answer until it is `written`; close its connection when that takes longer than `timeout_s`."""
        counted = size if size > LARGE_BYTES else 0
        self._bytes += counted
        timeout = asyncio.get_running_loop().call_later(self._timeout_s, _close, stream)

        def end(written: asyncio.Future[None]) -> None:
            self._bytes -= counted
            timeout.cancel()
            if not written.cancelled():
                written.exception()  # retrieved, so that it is not logged: the client has closed its connection

        written.add_done_callback(end)


def _close(stream: IOStream | None) -> None:
    if stream is not None:
        stream.close()
