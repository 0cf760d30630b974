"""What one lane has of each host, so that no host gets more at once, or sooner after one another, than is settled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

_SOON_S = 5.0  # until a collection that waits for its host's gap is under way


class Hosts:
    """Counts collections by host, and notes starts. A host of which nothing is left is forgotten."""

    def __init__(self, at_once: int, gap_s: float) -> None:
        self._at_once = at_once
        self._gap_s = gap_s
        self._may_wait = max(1, int(_SOON_S / gap_s)) if gap_s else at_once
        self._present: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._next_start: dict[str, float] = {}  # in the order of the instants, since every gap is the same

    def room(self, host: str) -> int:
        """No more than may be under way, and of those that wait for their gap what is due soon: each holds a place."""
        present = self._present[host]
        waiting = present - self._under_way[host]
        return min(self._at_once - present, self._may_wait - waiting)

    def enter(self, host: str) -> None:
        """One more, which waits."""
        self._present[host] += 1

    def may_start(self, host: str) -> bool:
        return self._under_way[host] < self._at_once and self._next_start.get(host, 0.0) <= time.monotonic()

    def start(self, host: str) -> None:
        """One of those that wait is under way."""
        self._under_way[host] += 1
        if self._gap_s:
            self._forget_past_starts()
            self._next_start[host] = time.monotonic() + self._gap_s

    def leave(self, host: str, *, started: bool) -> None:
        for count in (self._present, self._under_way) if started else (self._present,):
            count[host] -= 1
            if not count[host]:
                del count[host]

    def next_start_in_s(self, hosts: Iterable[str]) -> float | None:
        """Until the first of these may start again; None when none of them waits for its gap."""
        instants = [self._next_start[host] for host in hosts if host in self._next_start]
        self._forget_past_starts()  # after: a gap that has ended since `may_start` was asked is a turn that is due now
        return max(0.0, min(instants) - time.monotonic()) if instants else None

    def _forget_past_starts(self) -> None:
        instant = time.monotonic()
        while self._next_start:
            host, until = next(iter(self._next_start.items()))
            if until > instant:
                break
            del self._next_start[host]
