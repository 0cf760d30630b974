"""The lane's memory for bodies: who needs more than is left is paused, except the transfer that came first.

Without that exception transfers that each hold a part of the budget would wait for each other for ever. What is held,
outcomes that wait to be handed over among it, is so bounded by the budget and one body more.
"""

from __future__ import annotations

import pycurl

from metadata_inventory.collect.engine.hop import Hop


class BodyBudget:
    """Counts the bytes that each hop holds; hops are told apart by identity."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: dict[Hop, int] = {}  # in the order of their first bytes
        self._total = 0
        self._paused: dict[Hop, None] = {}

    @property
    def total(self) -> int:
        """Bytes that are held now."""
        return self._total

    def admits(self, hop: Hop, size: int) -> bool:
        """Whether the hop may take `size` more bytes; if not it is noted as paused."""
        self._hold(hop, hop.held_bytes)
        if self._total + size <= self._limit or hop is self._first:
            self._hold(hop, self._held[hop] + size)  # until it is known what the bytes have become
            return True
        self._paused[hop] = None
        return False

    def _hold(self, hop: Hop, held: int) -> None:
        self._total += held - self._held.get(hop, 0)
        self._held[hop] = held

    def release(self, hop: Hop) -> None:
        """The hop has ended and holds nothing."""
        self._total -= self._held.pop(hop, 0)
        self._paused.pop(hop, None)

    def keep(self, size: int) -> None:
        """An outcome of `size` bytes waits to be handed over …"""
        self._total += size

    def hand_over(self, size: int) -> None:
        """… and does not any more."""
        self._total -= size

    def resume(self) -> list[Hop]:
        """Let paused hops go on, the first whatever there is left, others when there is room; not from a callback.

        Returns those that ended by what had been held back: libcurl hands that over at once, and a refusal of it is
        pause's own error (23), of which the multi handle need not tell.
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
