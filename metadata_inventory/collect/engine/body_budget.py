"""Bounds the bytes of bodies in one lane process: a transfer that needs more than is left is paused, except the first.

Without that exception, transfers that each hold a part of the budget could wait for one another for ever. So the bytes
held, including outcomes that wait for the parent, are at most the budget and one body more.
"""

from __future__ import annotations

import pycurl

from metadata_inventory.collect.engine.hop import Hop


class BodyBudget:
    """Counts the bytes that each hop holds. The first hop is the one that has held bytes for longest."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: dict[Hop, int] = {}  # in the order of their first bytes
        self._total = 0
        self._paused: dict[Hop, None] = {}

    @property
    def total(self) -> int:
        """The bytes held now, by hops and by outcomes."""
        return self._total

    def admits(self, hop: Hop, size: int) -> bool:
        """Whether the hop may take `size` more bytes. If not, the caller pauses it, and `resume` continues it."""
        self._hold(hop, hop.held_bytes)
        if self._total + size <= self._limit or hop is self._first:
            self._hold(hop, self._held[hop] + size)  # an estimate, until the next call knows the decoded size
            return True
        self._paused[hop] = None
        return False

    def _hold(self, hop: Hop, held: int) -> None:
        self._total += held - self._held.get(hop, 0)
        self._held[hop] = held

    def release(self, hop: Hop) -> None:
        """Forget the hop: it has ended and holds nothing."""
        self._total -= self._held.pop(hop, 0)
        self._paused.pop(hop, None)

    def keep(self, size: int) -> None:
        """Count an outcome of `size` bytes, which waits until the parent fetches it."""
        self._total += size

    def hand_over(self, size: int) -> None:
        """Stop counting an outcome of `size` bytes: the parent gets it now."""
        self._total -= size

    def resume(self) -> list[Hop]:
        """Continue paused hops: the first in any case, others while bytes are left. Not for use in a callback.

        Returns the hops that this call has ended. libcurl delivers the bytes that it held back during the call; when
        the hop refuses them, the call itself reports error 23, and the multi handle may never report the end of the
        transfer.
        """
        ended = []
        for hop in list(self._paused):
            if self._total < self._limit or hop is self._first:
                del self._paused[hop]
                try:
                    hop.easy.pause(pycurl.PAUSE_CONT)
                except pycurl.error:
                    ended.append(hop)
        return ended

    @property
    def _first(self) -> Hop:
        return next(iter(self._held))
