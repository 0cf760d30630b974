"""Owns the two things that end the engine's wait early: a name was looked up, or the parent has more orders."""

from __future__ import annotations

import contextlib
import socket
from multiprocessing.connection import Connection

from metadata_inventory.collect.engine.multi import Multi


class Interrupts:
    """Watched by the selector of `multi`. `parent` becomes readable when the parent process interrupts the engine."""

    def __init__(self, multi: Multi, parent: Connection | None) -> None:
        self.interrupted = False  # by the parent, since `clear`
        self._parent = parent
        self._waker, self._woken = socket.socketpair()
        for end in (self._waker, self._woken):
            end.setblocking(False)
        multi.watch(self._woken.fileno(), self._take_wake_ups)
        if parent is not None:
            multi.watch(parent.fileno(), self._take_interrupts)

    def clear(self) -> None:
        self.interrupted = False

    def wake(self) -> None:
        """End the wait under way, or the next one. May be called from any thread, and after `close`."""
        with contextlib.suppress(OSError):  # enough wake-ups are waiting already, or it is closed
            self._waker.send(b"!")

    def close(self) -> None:
        """Close what was opened here; `parent` stays open."""
        self._waker.close()
        self._woken.close()

    def _take_wake_ups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)

    def _take_interrupts(self) -> None:
        assert self._parent is not None
        while self._parent.poll():  # one may be left of a call of `advance` that returned by itself
            self._parent.recv_bytes()
        self.interrupted = True
